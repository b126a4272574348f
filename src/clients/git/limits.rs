//! The limits that the fetching process sets itself, before it reads anything.

use clap::Args;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::{prctl, stat};
use nix::unistd::{Pid, getppid};

use super::{GitError, GitLimits};

/// Memory besides the files themselves: the program, TLS, the index of a pack of 400,000 objects.
const BASE_MEMORY: u64 = 128 << 20;
/// Address space besides memory and mapped packs: the program's own code, which a debug build has much of.
const BASE_ADDRESS_SPACE: u64 = 2 << 30;
/// Room for a pack's index beside the pack.
const INDEX_BYTES: u64 = 64 << 20;
const OPEN_FILES: u64 = 64;

/// The limits, as arguments: they hold before the request is read.
#[derive(Args, Clone, Copy, Debug)]
pub struct ProcessLimits {
    /// Bytes of memory
    #[arg(long)]
    memory: u64,
    /// Bytes of one file on disk
    #[arg(long)]
    file: u64,
    /// Seconds of processor time
    #[arg(long)]
    cpu: u64,
}

impl ProcessLimits {
    pub(super) fn of(limits: &GitLimits) -> Self {
        let (bytes, file) = (limits.max_bytes as u64, limits.max_file_bytes as u64);
        Self {
            // A file and the one that it is a delta of.
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

    /// Sets them for this process.
    pub(super) fn apply(&self) -> Result<(), GitError> {
        // Files of a pack are mapped, which is no memory that anybody misses: so two limits.
        let address_space = self.memory.saturating_add(self.file.saturating_mul(2)).saturating_add(BASE_ADDRESS_SPACE);
        let limits = [
            (Resource::RLIMIT_DATA, self.memory, self.memory),
            (Resource::RLIMIT_AS, address_space, address_space),
            (Resource::RLIMIT_FSIZE, self.file, self.file),
            // SIGXCPU first, which says why; SIGKILL a moment later.
            (Resource::RLIMIT_CPU, self.cpu, self.cpu.saturating_add(5)),
            (Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
            // No process and no thread beside this one. Root is not bound by it.
            (Resource::RLIMIT_NPROC, 0, 0),
            // A dump would hold the token.
            (Resource::RLIMIT_CORE, 0, 0),
        ];
        for (resource, soft, hard) in limits {
            setrlimit(resource, soft, hard)
                .map_err(|error| GitError::unavailable(format!("{resource:?} cannot be limited: {error}")))?;
        }
        // Modes come from the commit.
        stat::umask(stat::Mode::empty());
        // Where memory runs out on the whole machine, this process ends and not the server. It may not be permitted.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        prctl::set_dumpable(false).map_err(|error| GitError::unavailable(format!("prctl: {error}")))
    }
}

/// Ends this process with its parent. `parent` is checked after the kernel was asked: it may have died before.
pub(super) fn end_with(parent: u32) -> Result<(), GitError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| GitError::unavailable(format!("prctl: {error}")))?;
    let is_there = i32::try_from(parent).is_ok_and(|parent| getppid() == Pid::from_raw(parent));
    if is_there { Ok(()) } else { Err(GitError::new(super::GitErrorKind::Cancelled, "the parent process is gone")) }
}
