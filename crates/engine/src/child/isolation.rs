//! The fences around the engine process. Photos come from strangers: whatever one of them does to a decoder, the process
//! can then read no file of the user, write none, reach no network and start no program.

use std::fs;
use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::LoadRequest;
use crate::request::EngineFacts;

/// Folders of system libraries: a decoder may load a plugin of its own (libheif does) when its first photo comes.
const LIBRARY_FOLDERS: [&str; 6] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
];

/// Address space that each lane may take beyond its share of the budget: stack, activations of both networks.
const LANE_ADDRESS_SPACE: u64 = 384 << 20;

/// Closes every file but the standard ones: whatever the parent left open for its children is none of this process's
/// business. To be called first.
pub(super) fn close_inherited_files() {
    #[expect(unsafe_code, reason = "closes descriptors by number")]
    // SAFETY: the process has just begun and has opened nothing, so that nobody owns what is closed.
    unsafe {
        libc::close_range(3, libc::c_uint::MAX, 0);
    }
}

/// What can be done before loading: no core dumps of other people's photos, no new privileges.
pub(super) fn harden() {
    // 1 and not 0: the kernel honours a limit of 0 for files only, but runs no crash handler under a limit of 1.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(1),
            maximum: Some(1),
        },
    );
    let _ = rustix::thread::set_no_new_privs(true);
    let _ = rustix::thread::set_name(c"pitchfleet-eng");
}

/// What is done after loading, before the first photo. Lanes that are not built yet may take `later` bytes of address
/// space for it. Gives the names of the fences that stand.
///
/// # Errors
/// When a fence that the kernel has cannot be put up.
pub(super) fn fence_in(request: &LoadRequest, facts: &EngineFacts, later: u64) -> Result<String, String> {
    if facts.device != "cpu" {
        // CUDA opens devices and loads kernels as it goes, and reserves far more addresses than it uses.
        seccomp().map_err(|error| format!("seccomp: {error}"))?;
        return Ok("seccomp".to_owned());
    }
    let mut fences = Vec::new();
    limit_address_space(request, later).map_err(|error| format!("address space: {error}"))?;
    fences.push("address space");
    if landlock().map_err(|error| format!("landlock: {error}"))? {
        fences.push("landlock");
    }
    seccomp().map_err(|error| format!("seccomp: {error}"))?;
    fences.push("seccomp");
    Ok(fences.join(", "))
}

fn limit_address_space(request: &LoadRequest, later: u64) -> io::Result<()> {
    let lanes = LANE_ADDRESS_SPACE.saturating_mul(request.lanes as u64 + 1);
    let limit = address_space()?
        .saturating_add(lanes)
        .saturating_add(later)
        .saturating_add(request.memory_budget);
    let limit = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    Ok(setrlimit(Resource::As, limit)?)
}

/// Bytes of address space that this process has now.
fn address_space() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/statm is not understood"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Whether the kernel enforces it.
fn landlock() -> Result<bool, landlock::RulesetError> {
    let abi = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(LIBRARY_FOLDERS, AccessFs::from_read(abi)))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Everything but what an analysis never does: the filter answers those calls with `EPERM`.
fn seccomp() -> Result<(), Box<dyn std::error::Error>> {
    let refused = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_execve,
        libc::SYS_execveat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
    ];
    let filter = SeccompFilter::new(
        refused.into_iter().map(|call| (call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)?;
    Ok(())
}
