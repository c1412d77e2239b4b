//! The arguments and results of the set's commands, under QEMU's names.

use serde::{Deserialize, Serialize};

/// `GuestLogicalProcessor`: a processor, as the guest's kernel numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct LogicalProcessor {
    /// The kernel's number: N of `/sys/devices/system/cpu/cpuN`.
    pub logical_id: i64,
    /// Whether the kernel uses it; as an argument: whether it shall.
    pub online: bool,
    /// Whether it can be taken offline. Ignored as an argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_offline: Option<bool>,
}

/// The arguments of `guest-set-vcpus`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SetVcpusArgs {
    /// The processors to change, in the order in which they are changed.
    pub vcpus: Vec<LogicalProcessor>,
}

/// `GuestCpuStatsType`: the operating system whose counters these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CpuStatsType {
    /// Linux: those of `/proc/stat`.
    Linux,
}

/// `GuestCpuStats`: what an online processor has spent its time with since the guest booted; the times are in
/// milliseconds. See `proc_stat(5)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct CpuStats {
    /// Always `linux`.
    #[serde(rename = "type")]
    pub kind: CpuStatsType,
    /// The kernel's number of the processor.
    pub cpu: i64,
    /// Time in user mode, in ms.
    pub user: u64,
    /// Time in user mode with low priority, in ms.
    pub nice: u64,
    /// Time in the kernel, in ms.
    pub system: u64,
    /// Time without work, in ms.
    pub idle: u64,
    /// Time without work while a disk was waited for, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iowait: Option<u64>,
    /// Time in interrupts, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub irq: Option<u64>,
    /// Time in soft interrupts, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softirq: Option<u64>,
    /// Time that the host gave to others, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steal: Option<u64>,
    /// Time in which the processor ran a virtual machine of the guest's own, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<u64>,
    /// The same for one with low priority, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guestnice: Option<u64>,
}

/// `GuestMemoryBlock`: a stretch of physical memory that can be switched as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct MemoryBlock {
    /// The kernel's number: N of `/sys/devices/system/memory/memoryN`. The block begins at N times the block size.
    pub phys_index: u64,
    /// Whether the kernel uses it; as an argument: whether it shall.
    pub online: bool,
    /// Whether the kernel may be able to take it offline; also then it can fail. Ignored as an argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_offline: Option<bool>,
}

/// The arguments of `guest-set-memory-blocks`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct SetMemoryBlocksArgs {
    /// The blocks to change, in the order in which they are changed.
    pub mem_blks: Vec<MemoryBlock>,
}

/// `GuestMemoryBlockResponseType`: what became of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MemoryBlockResponseType {
    /// It is in the state that was asked for.
    Success,
    /// There is no such block.
    NotFound,
    /// This kernel cannot switch memory.
    OperationNotSupported,
    /// The kernel refused or failed.
    OperationFailed,
}

/// `GuestMemoryBlockResponse`: what became of one block of `guest-set-memory-blocks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct MemoryBlockResponse {
    /// The block's number, as in the request.
    pub phys_index: u64,
    /// What became of it.
    pub response: MemoryBlockResponseType,
    /// The kernel's error number (`errno(3)`); absent on success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<i64>,
}

/// `GuestMemoryBlockInfo`: what all memory blocks have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryBlockInfo {
    /// The size of a block, in bytes.
    pub size: u64,
}
