use super::*;

/// Feeds `bytes` in pieces of `chunk` and returns what comes out: a message's text, or an error's behind a `!`.
fn frames_in_chunks(bytes: &[u8], chunk: usize) -> Vec<String> {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    for piece in bytes.chunks(chunk) {
        framer.space().extend_from_slice(piece);
        while let Some(frame) = framer.next_frame() {
            found.push(match frame {
                Frame::Message(message) => {
                    for member in &message.members {
                        assert!(message.text[member.key.clone()].starts_with(b"\""));
                        assert!(!message.text[member.value.clone()].is_empty());
                    }
                    String::from_utf8(message.text).unwrap()
                }
                Frame::Broken(text) => format!("!{text}"),
            });
        }
    }
    found
}

/// The same, which must not depend on how the bytes are cut.
fn frames(bytes: impl AsRef<[u8]>) -> Vec<String> {
    let bytes = bytes.as_ref();
    let whole = frames_in_chunks(bytes, bytes.len().max(1));
    for chunk in [1, 2, 3, 7, 64] {
        assert_eq!(frames_in_chunks(bytes, chunk), whole, "in pieces of {chunk}");
    }
    whole
}

const PING: &str = r#"{"execute":"guest-ping"}"#;
const NOT_AN_OBJECT: &str = "!QMP input must be a JSON object";
const NO_VALUE: &str = "!JSON parse error, expecting value";

#[test]
fn messages_need_no_separator_and_may_have_any() {
    assert_eq!(frames(format!("{PING}{PING}\n\n \r\n\t{PING}")), [PING, PING, PING]);
    assert_eq!(frames("\n\n"), [""; 0]);
    assert_eq!(frames(&PING[..10]), [""; 0]);
    assert_eq!(frames(r#"{"a":"}]\"{","b":[{}]}"#), [r#"{"a":"}]\"{","b":[{}]}"#]);
}

#[test]
fn ff_starts_afresh_in_silence() {
    assert_eq!(frames([b"\xFF".as_slice(), PING.as_bytes()].concat()), [PING]);
    assert_eq!(frames([b"{\"a\":[[{\"b\":\"x\xFF".as_slice(), PING.as_bytes()].concat()), [PING]);
    assert_eq!(frames([b"{\"a\\\xFF".as_slice(), PING.as_bytes()].concat()), [PING]);
    assert_eq!(frames([b"12\xFF".as_slice(), PING.as_bytes()].concat()), [NOT_AN_OBJECT, PING]);
    assert_eq!(frames([b"1.\xFF\xFF".as_slice(), PING.as_bytes()].concat()), [PING]);
    assert_eq!(frames([b"@ab\xFF".as_slice(), PING.as_bytes()].concat()), ["!JSON parse error, stray '@'", PING]);
}

#[test]
fn what_is_no_object_is_answered() {
    for text in ["true ", "42 ", "-7\n", "0e1 ", "1.5e+10,", "'abc'", "\"x\"", "[]", "[{\"a\":1}]"] {
        assert_eq!(frames(text)[0], NOT_AN_OBJECT, "{text}");
    }
    assert_eq!(frames("42"), [""; 0], "a number ends with the byte behind it");
}

#[test]
fn broken_grammar_is_one_error_and_the_next_message_is_understood() {
    for (text, error) in [
        ("{]", "expecting value"),
        ("]", "expecting value"),
        (":", "expecting value"),
        ("nul ", "invalid keyword"),
        (r#"{"a"}"#, "missing : in object pair"),
        (r#"{"a":}"#, "expecting value"),
        (r#"{"a" 1}"#, "missing : in object pair"),
        (r#"{"a":1 "b":2}"#, "expected separator in dict"),
        (r#"{,"a":1}"#, "expecting value"),
        (r#"{"a":1,}"#, "expecting value"),
        (r#"{[]:2}"#, "key is not a string in object"),
        (r#"{"a":[1,]}"#, "expecting value"),
        (r#"{"a":[1 2]}"#, "expected separator in list"),
        (r#"{"a":[1:2]}"#, "expected separator in list"),
        (r#"{"a":nope}"#, "invalid keyword"),
        (r#"{"a":0x10}"#, "expected separator in dict"),
        (r#"{"a":10k}"#, "expected separator in dict"),
        (r#"{"a":"\a"}"#, "invalid escape sequence in string"),
        (r#"{"a":"\ude00"}"#, r"\ude00 is not a valid Unicode character"),
    ] {
        assert_eq!(frames(format!("{text}\n{PING}")), [format!("!JSON parse error, {error}"), PING.into()], "{text}");
    }
}

#[test]
fn a_run_of_broken_bytes_is_one_error() {
    for run in ["}}", "{]}", "]]:,:,}", "@ab @cd :: }", &"}".repeat(10_000), "{\"a\":@1, @2, \"x\" nul}"] {
        let found = frames(run.replace("\"x\"", ""));
        assert_eq!(found.len(), 1, "{run}: {found:?}");
        assert!(found[0].starts_with("!JSON parse error"));
    }
    // A line break, an opening brace, a message and 0xFF are where a client begins afresh.
    assert_eq!(frames("}}\n}}\r\n}"), [NO_VALUE; 3]);
    assert_eq!(frames("}}{]{]"), [NO_VALUE; 3]);
    assert_eq!(frames(format!("}}}}{PING}}}}}")), [NO_VALUE, PING, NO_VALUE]);
    assert_eq!(frames(b"}}\xFF}}".as_slice()), [NO_VALUE; 2]);
    // A value that is no object is no broken byte.
    assert_eq!(frames("}} 1 2 }}"), [NO_VALUE, NOT_AN_OBJECT, NOT_AN_OBJECT, NO_VALUE]);
}

/// What reading a text takes, in steps for each byte, whole and byte by byte.
fn steps_per_byte(text: &[u8]) -> u64 {
    let steps = |chunk| {
        guestd_sdk::steps::reset();
        frames_in_chunks(text, chunk);
        guestd_sdk::steps::taken()
    };
    steps(text.len()).max(steps(1)).max(steps(4096)).div_ceil(text.len() as u64)
}

#[test]
fn work_grows_with_the_bytes_and_no_faster() {
    let (many, long) = (40_000, 1 << 20);
    let member = |number: usize| format!("\"k{number}\":1");
    let members = (0..many).map(member).collect::<Vec<_>>().join(",");
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(BIG));
    for text in [
        format!("{{\"execute\":\"guest-sync\",\"arguments\":{{{members}}}}}"),
        format!("{{\"execute\":\"{}\"}}", "x".repeat(long)),
        format!("{{\"execute\":\"{}\"}}", "é".repeat(long)),
        format!("{{\"execute\":\"{}\"}}", "\\u00e9\\n".repeat(long / 8)),
        format!("{{'execute':'{}'}}", "\"\\'".repeat(long / 4)),
        format!("{{\"id\":{}", "[".repeat(1000)) + &"1,".repeat(long / 2),
        "}".repeat(long),
        "{]".repeat(long / 2),
        "@".repeat(long),
        "1".repeat(long),
        "x".repeat(long),
        " ".repeat(long),
        format!("[{}", "\n".repeat(long)),
        "1 ".repeat(long / 2),
        PING.repeat(long / PING.len()),
        big.repeat(long / big.len()),
        format!("{PING}{big}").repeat(long / big.len()),
    ] {
        let steps = steps_per_byte(text.as_bytes());
        assert!(steps <= 20, "{steps} for each byte of {}", &text[..60]);
    }
}

#[test]
fn a_message_without_room_is_an_error_and_the_next_is_understood() {
    for text in [
        format!("{{\"a\":\"{}\",\"b\":[1,true]}}{PING}\n{PING}", "x}]\\\"".repeat(20_000)),
        format!("{{'a':[{}7]}}{PING}\n{PING}", "{\"k\":1e5},".repeat(30_000)),
    ] {
        let mut framer = Framer::new();
        let mut found = Vec::new();
        for piece in text.as_bytes().chunks(1000) {
            if framer.is_full(64 << 10) {
                framer.discard();
            }
            framer.room(64 << 10).unwrap().extend_from_slice(piece);
            assert!(framer.capacity() <= 64 << 10, "{}", framer.capacity());
            while let Some(frame) = framer.next_frame() {
                found.push(frame);
            }
        }
        let error = Frame::Broken("JSON message too large for the memory that is left".to_owned());
        let [first, pings @ ..] = found.as_slice() else { panic!("nothing was found") };
        assert_eq!(*first, error, "{}", &text[..20]);
        assert!(matches!(pings, [Frame::Message(one), Frame::Message(two)] if one == two), "{pings:?}");
    }
}

#[test]
fn the_buffer_doubles_and_no_further_than_it_may() {
    let mut framer = Framer::new();
    framer.space().extend_from_slice(b"{\"a\":\"");
    let mut sizes = Vec::new();
    for _ in 0..100_000 {
        framer.room(128 << 10).unwrap().push(b'x');
        assert!(framer.next_frame().is_none());
        if sizes.last() != Some(&framer.capacity()) {
            sizes.push(framer.capacity());
        }
    }
    assert!(sizes.len() <= 6 && sizes.iter().all(|size| *size <= 128 << 10), "{sizes:?}");
    while !framer.is_full(128 << 10) {
        framer.room(128 << 10).unwrap().push(b'x');
    }
    while framer.room(128 << 10).is_ok() {
        framer.room(128 << 10).unwrap().push(b'x');
    }
    assert!(framer.room(256 << 10).is_ok());
    assert_eq!(framer.pending(), 128 << 10);
    framer.room(256 << 10).unwrap().push(0xFF);
    assert!(framer.next_frame().is_none());
    framer.tidy();
    assert!(framer.capacity() <= BIG, "{}", framer.capacity());
}

#[test]
fn a_lexical_error_drops_the_message_at_once() {
    let after = |text: &[u8]| frames([text, b"\n", PING.as_bytes()].concat());
    assert_eq!(after(b"HELLO"), ["!JSON parse error, stray 'H'", PING]);
    assert_eq!(after(b"{\"id\":@1}"), ["!JSON parse error, stray '@'", PING]);
    assert_eq!(after(b"\0"), ["!JSON parse error, stray '\0'", PING]);
    assert_eq!(after(b"{\"a\":00}"), ["!JSON parse error, stray '00'", PING]);
    assert_eq!(after(b"-Infinity"), ["!JSON parse error, stray '-I'", PING]);
    assert_eq!(after(b"\xEF\xBB\xBF")[0], "!JSON parse error, stray '\u{FFFD}'");
    // The quote behind the line break begins a string, which the next line break breaks off.
    let found = after(b"{\"execute\":\"guest-\nping\"}");
    assert_eq!(found.last().unwrap(), PING, "{found:?}");
    assert!(found.len() > 1 && found[..found.len() - 1].iter().all(|text| text.starts_with("!JSON parse error")));
}

#[test]
fn strings_are_utf8_and_may_hold_del_and_noncharacters() {
    for good in ["{\"a\":\"é€😀\u{7F}\u{FFFF}\"}", r#"{"a":"\uffff\ud83d\ude00\u0000"}"#] {
        assert_eq!(frames(good), [good]);
    }
    for bad in [b"\xC0\x80".as_slice(), b"\xC3", b"\xED\xA0\x80", b"\xF4\x90\x80\x80"] {
        let text = [b"{\"a\":\"".as_slice(), bad, b"\"}"].concat();
        assert_eq!(frames(text), ["!JSON parse error, invalid UTF-8 sequence in string"]);
    }
}

#[test]
fn single_quotes_arrive_as_json() {
    assert_eq!(frames(r#"{'execute':'guest-\'"ping"'}"#), [r#"{"execute":"guest-'\"ping\""}"#]);
    assert_eq!(frames(r#"{"a":"it\'s"}"#), [r#"{"a":"it's"}"#]);
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("{{\"id\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(frames(nested(1023)), [nested(1023)]);
    let found = frames_in_chunks(nested(1024).as_bytes(), 4096);
    assert_eq!(found, ["!JSON nesting depth limit exceeded"]);
    let objects = frames_in_chunks("{\"a\":".repeat(1025).as_bytes(), 100);
    assert_eq!(objects, ["!JSON nesting depth limit exceeded", NOT_AN_OBJECT, NO_VALUE]);
}

#[test]
fn the_number_of_tokens_has_a_limit() {
    let text = format!("[{}1", "1,".repeat(1 << 20));
    assert_eq!(frames_in_chunks(text.as_bytes(), 1 << 16), ["!JSON token count limit exceeded"]);
}

#[test]
fn the_size_has_a_limit_and_the_room_is_given_back() {
    let mut framer = Framer::new();
    let piece = vec![b'x'; 1 << 20];
    framer.space().extend_from_slice(b"{\"a\":\"");
    let mut errors = 0;
    for _ in 0..70 {
        framer.space().extend_from_slice(&piece);
        while let Some(frame) = framer.next_frame() {
            assert_eq!(frame, Frame::Broken("JSON token size limit exceeded".to_owned()));
            errors += 1;
        }
    }
    assert_eq!(errors, 1);
    framer.space().extend_from_slice([b"\xFF", PING.as_bytes()].concat().as_slice());
    assert!(matches!(framer.next_frame(), Some(Frame::Message(_))));
    framer.tidy();
    assert!(framer.capacity() < 1 << 20);
}

#[test]
fn a_big_message_is_moved_out_and_what_follows_is_kept() {
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(BIG));
    assert_eq!(frames_in_chunks(format!("{PING}{big}{PING}{big}").as_bytes(), 5000), [PING, &big, PING, &big]);
    let mut framer = Framer::new();
    framer.space().extend_from_slice(big.as_bytes());
    let address = framer.buffer.as_ptr();
    let Some(Frame::Message(message)) = framer.next_frame() else { panic!("no message") };
    assert_eq!(message.text.as_ptr(), address, "it was copied");
}

#[test]
fn members_are_told_as_they_stand() {
    let mut framer = Framer::new();
    framer.space().extend_from_slice(br#"  { "execute" : "x" , "id":{"k":[1,"]"]} ,"arguments": {} }"#);
    let Some(Frame::Message(message)) = framer.next_frame() else { panic!("no message") };
    let shown: Vec<_> = message
        .members
        .iter()
        .map(|member| {
            [&member.key, &member.value].map(|range| std::str::from_utf8(&message.text[range.clone()]).unwrap())
        })
        .collect();
    assert_eq!(shown, [["\"execute\"", "\"x\""], ["\"id\"", r#"{"k":[1,"]"]}"#], ["\"arguments\"", "{}"]]);
}

#[test]
fn any_bytes_at_all_are_taken_and_the_stream_recovers() {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let alphabet = b"{}[]:,\"'\\ \n\t0123456789.eE+-abtrufalsn\x00\x1f\x7f\x80\xc3\xa9\xfe\xff/u";
    for _ in 0..3000 {
        let mut text = Vec::new();
        for _ in 0..60 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            text.push(alphabet[(seed % alphabet.len() as u64) as usize]);
        }
        assert_eq!(frames_in_chunks(&text, 1), frames_in_chunks(&text, 60));
        text.extend([b"\xFF".as_slice(), PING.as_bytes()].concat());
        assert_eq!(frames_in_chunks(&text, 13).last().map(String::as_str), Some(PING));
    }
}
