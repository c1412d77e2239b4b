//! `guest-get-memory-blocks`, `guest-set-memory-blocks`, `guest-get-memory-block-info`: `/sys/devices/system/memory`
//! (the kernel's `admin-guide/mm/memory-hotplug.rst`).

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use guestd_sdk::prelude::*;

use crate::attribute::{self, AttributeError};
use crate::hardware::Hardware;
use crate::machine::Machine;
use crate::types::{MemoryBlock, MemoryBlockInfo, MemoryBlockResponse, MemoryBlockResponseType, SetMemoryBlocksArgs};
use crate::vcpus::numbered;

/// A directory `memoryN` below it for each block; it is there if the kernel can switch memory.
const BLOCKS: &str = "/sys/devices/system/memory";
const STATE: &str = "state";
const SIZE: &str = "block_size_bytes";

/// `guest-get-memory-blocks`: all blocks, in the order of their numbers; none where the kernel cannot switch memory.
pub fn get_memory_blocks(ctx: &Ctx<Hardware>, _: NoArgs) -> Result<Vec<MemoryBlock>, CommandError> {
    list(&ctx.state.machine)
}

/// `guest-set-memory-blocks`: switches blocks on and off, one after the other, and answers what became of each.
pub fn set_memory_blocks(
    ctx: &Ctx<Hardware>,
    args: SetMemoryBlocksArgs,
) -> Result<Vec<MemoryBlockResponse>, CommandError> {
    let answer = |block: &MemoryBlock| {
        let phys_index = block.phys_index;
        let state = if block.online { "online" } else { "offline" };
        match set_online(&ctx.state.machine, phys_index, block.online) {
            Ok(changed) => {
                if changed {
                    ctx.info(format_args!("memory block {phys_index} is {state}"));
                }
                MemoryBlockResponse { phys_index, response: MemoryBlockResponseType::Success, error_code: None }
            }
            Err(failure) => {
                ctx.warn(format_args!("memory block {phys_index} cannot be {state}: {failure}"));
                MemoryBlockResponse { phys_index, response: failure.response, error_code: Some(failure.code) }
            }
        }
    };
    Ok(args.mem_blks.iter().map(answer).collect())
}

/// `guest-get-memory-block-info`: the size of all blocks.
pub fn get_memory_block_info(ctx: &Ctx<Hardware>, _: NoArgs) -> Result<MemoryBlockInfo, CommandError> {
    let machine = &ctx.state.machine;
    let value =
        attribute::get_at(&machine.path(&format!("{BLOCKS}/{SIZE}"))).map_err(
            |error| match attribute::open_directory(&machine.path(BLOCKS)) {
                Ok(_) => file_failure(SIZE, &error),
                Err(error) => CommandError::os(format_args!("open(\"{BLOCKS}/\")"), &error),
            },
        )?;
    let text = std::str::from_utf8(&value).unwrap_or_default();
    match u64::from_str_radix(text.trim(), 16) {
        Ok(size) if size > 0 => Ok(MemoryBlockInfo { size }),
        _ => Err(CommandError::new(format!("sysfs file \"{SIZE}\" holds no size"))),
    }
}

/// The numbers of the blocks that are there, in order.
pub(crate) fn numbers(machine: &Machine) -> io::Result<Vec<u64>> {
    match numbered(machine, BLOCKS, "memory") {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        result => result,
    }
}

fn list(machine: &Machine) -> Result<Vec<MemoryBlock>, CommandError> {
    let failed = |error: &io::Error| CommandError::os(format_args!("failed to list entries: {BLOCKS}"), error);
    let directory = match attribute::open_directory(&machine.path(BLOCKS)) {
        Ok(directory) => directory,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&error)),
    };
    let numbers = numbers(machine).map_err(|error| failed(&error))?;
    let mut blocks = Vec::with_capacity(numbers.len());
    for number in numbers {
        blocks.extend(block(machine, &directory, number)?);
    }
    if blocks.is_empty() {
        return Err(CommandError::new("guest reported zero memory blocks!"));
    }
    Ok(blocks)
}

/// One block; `None` if it has just gone.
fn block(machine: &Machine, directory: &OwnedFd, phys_index: u64) -> Result<Option<MemoryBlock>, CommandError> {
    let online = match attribute::get(directory, &format!("memory{phys_index}/{STATE}")) {
        Ok(state) => state == b"online",
        Err(error) if error.is_absent() => {
            if !machine.path(&format!("{BLOCKS}/memory{phys_index}")).is_dir() {
                return Ok(None);
            }
            // A kernel that shows the block and cannot switch it.
            return Ok(Some(MemoryBlock { phys_index, online: true, can_offline: Some(false) }));
        }
        Err(error) => return Err(file_failure(STATE, &error)),
    };
    let removable = attribute::get(directory, &format!("memory{phys_index}/removable"));
    let can_offline = removable.is_ok_and(|value| value.first() != Some(&b'0'));
    Ok(Some(MemoryBlock { phys_index, online, can_offline: Some(can_offline) }))
}

/// Why a block was not switched.
#[derive(Debug)]
pub(crate) struct Failure {
    response: MemoryBlockResponseType,
    code: i64,
    text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Switches one block, and says whether there was something to do.
pub(crate) fn set_online(machine: &Machine, phys_index: u64, online: bool) -> Result<bool, Failure> {
    use MemoryBlockResponseType::{NotFound, OperationFailed, OperationNotSupported};

    let open = |path: &str, absent: MemoryBlockResponseType| {
        attribute::open_directory(&machine.path(path)).map_err(|error| {
            let response = if error.kind() == ErrorKind::NotFound { absent } else { OperationFailed };
            let text = format!("open(\"{path}/\"): {}", guestd_sdk::errno_text(&error));
            Failure { response, code: error.raw_os_error().unwrap_or_default().into(), text }
        })
    };
    open(BLOCKS, OperationNotSupported)?;
    let block = open(&format!("{BLOCKS}/memory{phys_index}"), NotFound)?;
    let wanted = if online { "online" } else { "offline" };
    match attribute::change(block, STATE, wanted, |state| state == wanted.as_bytes()) {
        Ok(changed) => Ok(changed),
        // A block that cannot be switched is online.
        Err(error) if error.is_absent() && online => Ok(false),
        Err(error) => {
            let response = if error.is_absent() { OperationNotSupported } else { OperationFailed };
            Err(Failure { response, code: error.code(), text: file_failure(STATE, &error).desc().to_owned() })
        }
    }
}

/// qemu-ga's words.
fn file_failure(name: &str, error: &AttributeError) -> CommandError {
    let (call, text) = error.parts();
    CommandError::new(format!("{call} sysfs file \"{name}\": {text}"))
}
