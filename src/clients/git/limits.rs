//! Resource limits that the fetching process applies to itself before it reads any input.

use clap::Args;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::{prctl, stat};
use nix::unistd::{Pid, getppid};

use super::{GitError, GitLimits};

/// Memory in bytes besides the files themselves: the program, TLS, the index of a pack with 400,000 objects.
const BASE_MEMORY: u64 = 128 << 20;
/// Address space in bytes besides memory and mapped packs: the program's code, which is large in a debug build.
const BASE_ADDRESS_SPACE: u64 = 2 << 30;
/// Bytes reserved for a pack's index in addition to the pack.
const INDEX_BYTES: u64 = 64 << 20;
const OPEN_FILES: u64 = 64;

/// The limits as command-line arguments, so that they apply before the request is read.
#[derive(Args, Clone, Copy, Debug)]
pub struct ProcessLimits {
    /// Limit of memory in bytes
    #[arg(long)]
    memory: u64,
    /// Limit of one file on disk in bytes
    #[arg(long)]
    file: u64,
    /// Limit of CPU time in seconds
    #[arg(long)]
    cpu: u64,
}

impl ProcessLimits {
    pub(super) fn of(limits: &GitLimits) -> Self {
        let (bytes, file) = (limits.max_bytes as u64, limits.max_file_bytes as u64);
        Self {
            // Twice: a file and the base of its delta may be in memory together.
            memory: file.saturating_mul(2).saturating_add(BASE_MEMORY),
            // The pack is one file.
            file: bytes.max(file).saturating_add(INDEX_BYTES),
            cpu: limits.timeout.as_secs().max(1),
        }
    }

    pub(super) fn arguments(&self) -> [String; 3] {
        [format!("--memory={}", self.memory), format!("--file={}", self.file), format!("--cpu={}", self.cpu)]
    }

    pub(super) fn seconds(&self) -> u64 {
        self.cpu
    }

    /// Applies the limits to this process.
    pub(super) fn apply(&self) -> Result<(), GitError> {
        // Packs are mapped into memory, which uses address space but no memory: hence two limits.
        let address_space = self.memory.saturating_add(self.file.saturating_mul(2)).saturating_add(BASE_ADDRESS_SPACE);
        let limits = [
            (Resource::RLIMIT_DATA, self.memory, self.memory),
            (Resource::RLIMIT_AS, address_space, address_space),
            (Resource::RLIMIT_FSIZE, self.file, self.file),
            // SIGXCPU arrives first and identifies the cause; SIGKILL follows a few seconds later.
            (Resource::RLIMIT_CPU, self.cpu, self.cpu.saturating_add(5)),
            (Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
            // Forbids further processes and threads. Does not apply to root.
            (Resource::RLIMIT_NPROC, 0, 0),
            // A core dump would contain the token.
            (Resource::RLIMIT_CORE, 0, 0),
        ];
        for (resource, soft, hard) in limits {
            setrlimit(resource, soft, hard)
                .map_err(|error| GitError::unavailable(format!("{resource:?} cannot be limited: {error}")))?;
        }
        // File modes come from the commit.
        stat::umask(stat::Mode::empty());
        // If the whole machine runs out of memory, this process is killed instead of the server. Setting it may be forbidden.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        prctl::set_dumpable(false).map_err(|error| GitError::unavailable(format!("prctl: {error}")))
    }
}

/// Ends this process when its parent ends. `parent` is checked after the request to the kernel, because it may have died before.
pub(super) fn end_with(parent: u32) -> Result<(), GitError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| GitError::unavailable(format!("prctl: {error}")))?;
    let is_there = i32::try_from(parent).is_ok_and(|parent| getppid() == Pid::from_raw(parent));
    if is_there { Ok(()) } else { Err(GitError::new(super::GitErrorKind::Cancelled, "the parent process is gone")) }
}
