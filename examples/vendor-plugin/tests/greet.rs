//! The plugin in the sdk's test kit: no daemon, no library, no socket.
use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::json;

#[test]
fn it_greets_as_configured() {
    let settings = Settings { config: json!({"greeting": "Good evening"}), ..Settings::default() };
    let kit = TestKit::start_with(example_greeter::plugin_module(), settings).unwrap();
    let answer = kit.call("__com.example_greet", json!({"name": "Ann", "times": 2})).unwrap();
    assert_eq!(answer, json!({"lines": ["Good evening, Ann", "Good evening, Ann"]}));
}

#[test]
fn what_is_wrong_is_said_in_qemus_words() {
    let kit = TestKit::start(example_greeter::plugin_module()).unwrap();
    let error = |arguments| kit.call("__com.example_greet", arguments).unwrap_err().desc().to_owned();
    assert_eq!(error(json!({})), "Parameter 'name' is missing");
    assert_eq!(error(json!({"name": 1})), "Invalid parameter type for 'name', expected: string");
    assert_eq!(error(json!({"name": "", "nmae": ""})), "Parameter 'nmae' is unexpected");
    assert_eq!(error(json!({"name": ""})), "there is nobody to greet");
}
