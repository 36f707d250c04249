//! System calls besides bpf(2): perf events, processes and signals, epoll, CPUs, shared memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// `struct perf_event_attr` of 112 bytes (PERF_ATTR_SIZE_VER5, Linux 4.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PerfAttr {
    pub kind: u32,
    pub size: u32,
    pub config: u64,
    /// Period, or frequency with [`PerfAttr::FREQ`].
    pub sample: u64,
    pub sample_type: u64,
    pub read_format: u64,
    pub flags: u64,
    pub wakeup: u32,
    pub bp_type: u32,
    /// Function name (kprobe) or path (uprobe), by address; breakpoint address.
    pub config1: u64,
    /// Offset of the probe; breakpoint length.
    pub config2: u64,
    pub branch_sample_type: u64,
    pub sample_regs_user: u64,
    pub sample_stack_user: u32,
    pub clockid: i32,
    pub sample_regs_intr: u64,
    pub aux_watermark: u32,
    pub sample_max_stack: u16,
    pub reserved: u16,
}

impl PerfAttr {
    /// Bits of `flags`.
    pub const DISABLED: u64 = 1;
    pub const INHERIT: u64 = 1 << 1;
    pub const FREQ: u64 = 1 << 10;
    /// `PERF_FORMAT_TOTAL_TIME_ENABLED` of `read_format`.
    pub const TIME_ENABLED: u64 = 1;
}

/// perf_event_open(2) with close-on-exec. `pid` −1: all; `cpu` −1: any.
pub fn perf_event_open(attr: &PerfAttr, pid: i32, cpu: i32) -> io::Result<OwnedFd> {
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    let attr = PerfAttr { size: std::mem::size_of::<PerfAttr>() as u32, ..*attr };
    // SAFETY: `attr` lives through the call and says its own size; pointers in it come from callers'
    // C strings, which outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The operations on a perf event; `_IO('$', n)` of include/uapi/linux/perf_event.h.
#[derive(Clone, Copy, Debug)]
pub enum PerfControl<'a> {
    Enable,
    Disable,
    SetProgram(BorrowedFd<'a>),
}

/// How long an event opened with [`PerfAttr::TIME_ENABLED`] has been counting, in nanoseconds.
pub fn perf_time(event: BorrowedFd<'_>) -> io::Result<u64> {
    // Its value, and the time.
    let mut words = [0u64; 2];
    // SAFETY: the buffer is as long as the call is told.
    let read = unsafe { libc::read(event.as_raw_fd(), words.as_mut_ptr().cast(), size_of_val(&words)) };
    if read == size_of_val(&words) as isize { Ok(words[1]) } else { Err(io::Error::last_os_error()) }
}

pub fn perf_control(event: BorrowedFd<'_>, control: PerfControl<'_>) -> io::Result<()> {
    let (request, argument) = match control {
        PerfControl::Enable => (0x2400, 0),
        PerfControl::Disable => (0x2401, 0),
        PerfControl::SetProgram(fd) => (0x4004_2408, fd.as_raw_fd()),
    };
    // SAFETY: these requests take an integer and touch no memory of ours.
    check(unsafe { libc::ioctl(event.as_raw_fd(), request, argument) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME`, `CLOCK_TAI` or `CLOCK_REALTIME`.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec. It cannot fail for the clocks named above; if it did, time would be 0.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Allows locking any amount of memory: kernels before 5.11 count BPF memory against RLIMIT_MEMLOCK.
/// Failing is no error here; creating a map will say EPERM.
pub fn raise_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// Major and minor version of the running kernel; (0, 0) when it cannot be read.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// A descriptor that becomes readable when the process ends (Linux 5.3).
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns; pidfds are close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The eventfd that the signal handler writes to.
static SIGNALLED: AtomicI32 = AtomicI32::new(-1);
/// The last signal that came, and whether a process sent it.
static LAST: AtomicI32 = AtomicI32::new(0);
static SENT: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(signal: libc::c_int, info: *const libc::siginfo_t, _context: *const libc::c_void) {
    let one = 1u64;
    // SAFETY: the kernel hands over a siginfo (SA_SIGINFO). write(2) is async-signal-safe and reads 8 live bytes;
    // errno is put back for the code interrupted.
    unsafe {
        LAST.store(signal, Ordering::Relaxed);
        // Codes of what processes send are not positive; a terminal's signals have SI_KERNEL.
        SENT.store((*info).si_code <= 0, Ordering::Relaxed);
        let errno = *libc::__errno_location();
        libc::write(SIGNALLED.load(Ordering::Relaxed), (&raw const one).cast(), 8);
        *libc::__errno_location() = errno;
    }
}

/// The wish to end, by signal: the descriptor becomes readable when the first of the signals comes. The
/// second has its usual effect, so that a process that hangs (in a write to a pipe that nobody reads) can
/// still be stopped. Lasts until the process ends; a program that is executed gets the usual effects.
#[derive(Debug)]
pub struct EndSignals(OwnedFd);

impl EndSignals {
    pub fn new(signals: &[i32]) -> io::Result<EndSignals> {
        // SAFETY: takes integers; the descriptor is new and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?) };
        SIGNALLED.store(fd.as_raw_fd(), Ordering::Relaxed);
        for signal in signals {
            // SAFETY: all zeros is a valid sigaction; the handler is async-signal-safe.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                check(libc::sigaction(*signal, std::ptr::null(), &raw mut action))?;
                // As nohup(1) leaves it.
                if *signal == libc::SIGHUP && action.sa_sigaction == libc::SIG_IGN {
                    continue;
                }
                action = std::mem::zeroed();
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART | libc::SA_SIGINFO;
                check(libc::sigaction(*signal, &raw const action, std::ptr::null_mut()))?;
            }
        }
        Ok(EndSignals(fd))
    }

    /// The last signal, and whether a process sent it: then we alone got it. From a terminal, the whole group of
    /// processes did.
    pub fn last(&self) -> (i32, bool) {
        (LAST.load(Ordering::Relaxed), SENT.load(Ordering::Relaxed))
    }
}

impl AsFd for EndSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for EndSignals {
    fn drop(&mut self) {
        // A late signal must not write to a descriptor that is something else by then.
        SIGNALLED.store(-1, Ordering::Relaxed);
    }
}

/// The reason why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The time is over.
    Time,
    /// The wish to end came meanwhile.
    End,
}

/// Whether the wish to end came, by signal.
pub fn end_is_wished() -> bool {
    LAST.load(Ordering::Relaxed) != 0
}

/// Waits until a descriptor is readable, at most for a time, and only until the wish to end comes. If that came before,
/// it is waited for nevertheless: what is printed at the end needs names, too.
pub fn await_readable(fd: &impl AsRawFd, time: Duration) -> Result<(), Late> {
    let began = Instant::now();
    // Negative descriptors are passed over.
    let signalled = if end_is_wished() { -1 } else { SIGNALLED.load(Ordering::Relaxed) };
    let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    loop {
        let rest = time.saturating_sub(began.elapsed());
        let mut entries = [entry(fd.as_raw_fd()), entry(signalled)];
        let milliseconds = i32::try_from(rest.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: two live entries, as the second argument says. Interrupted, it leaves them as they are.
        unsafe { libc::poll(entries.as_mut_ptr(), 2, milliseconds) };
        let [ours, end] = entries;
        if ours.revents != 0 {
            return Ok(());
        }
        if end.revents != 0 {
            return Err(Late::End);
        }
        if rest.is_zero() {
            return Err(Late::Time);
        }
    }
}

/// The pipe that signals for the script are written to.
static OWN_SIGNALS: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_own_signal(signal: libc::c_int) {
    let number = signal as u8;
    // SAFETY: as in `on_signal`, with one live byte. When the pipe is full, many of this signal wait already.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(OWN_SIGNALS.load(Ordering::Relaxed), (&raw const number).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Signals that the script wants to see; the descriptor becomes readable when one comes. Lasts until it is dropped;
/// a program that is executed gets the usual effects.
#[derive(Debug)]
pub struct OwnSignals {
    read: OwnedFd,
    _write: OwnedFd,
    signals: Vec<i32>,
}

impl OwnSignals {
    pub fn new(signals: Vec<i32>) -> io::Result<OwnSignals> {
        let mut ends = [0; 2];
        // SAFETY: writes two integers.
        check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
        // SAFETY: both descriptors are new and nobody else owns them.
        let [read, write] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        OWN_SIGNALS.store(write.as_raw_fd(), Ordering::Relaxed);
        for signal in &signals {
            // SAFETY: all zeros is a valid sigaction; the handler is async-signal-safe.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_own_signal as *const () as usize;
                action.sa_flags = libc::SA_RESTART;
                check(libc::sigaction(*signal, &raw const action, std::ptr::null_mut()))?;
            }
        }
        Ok(OwnSignals { read, _write: write, signals })
    }

    /// The signals that came since the last call.
    pub fn take(&self) -> Vec<i32> {
        let mut numbers = [0u8; 64];
        // SAFETY: writes at most as many bytes as the buffer has; never blocks.
        let count = unsafe { libc::read(self.read.as_raw_fd(), numbers.as_mut_ptr().cast(), numbers.len()) };
        numbers.iter().take(usize::try_from(count).unwrap_or(0)).map(|n| i32::from(*n)).collect()
    }
}

impl AsFd for OwnSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

impl Drop for OwnSignals {
    fn drop(&mut self) {
        for signal in &self.signals {
            // SAFETY: takes integers. From here on the signal is ignored: it was meant for the script.
            unsafe { libc::signal(*signal, libc::SIG_IGN) };
        }
        OWN_SIGNALS.store(-1, Ordering::Relaxed);
    }
}

/// From here on, children that end can be waited for, even if whoever started us ignored SIGCHLD, which lasts through
/// exec and lets the kernel forget them.
pub fn await_children() {
    // SAFETY: takes integers; SIGCHLD has no handler of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// In a forked child: no signal blocked, SIGPIPE as programs expect it. Async-signal-safe.
pub fn unblock_all_signals() {
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; all three calls are async-signal-safe.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

pub fn kill(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: takes two integers.
    check(unsafe { libc::kill(pid as i32, signal) }).map(drop)
}

/// Waits for any of a set of descriptors to become readable; each has a token.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: takes an integer; the descriptor is new.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above, nobody else owns it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: reads one epoll_event.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) })
            .map(drop)
    }

    /// The tokens of what is readable, after at most `timeout` milliseconds (−1: no limit). An
    /// interruption by a signal counts as nothing readable.
    pub fn wait(&self, timeout: i32) -> io::Result<Vec<u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
        // SAFETY: the buffer has as many elements as the third argument says.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, timeout) };
        match check(count) {
            Ok(count) => Ok(events.iter().take(count as usize).map(|e| e.u64).collect()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }
}

/// The CPUs of a list such as `0-3,8`, the form of /sys/devices/system/cpu/{online,possible}.
pub fn parse_cpu_list(text: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(low), Ok(high)) = (low.parse::<u32>(), high.parse::<u32>()) {
            // No kernel has more than 8192 CPUs.
            cpus.extend(low..=high.min(low.saturating_add(8192)));
        }
    }
    cpus
}

/// The CPUs that are running now.
pub fn online_cpus() -> io::Result<Vec<u32>> {
    Ok(parse_cpu_list(&std::fs::read_to_string("/sys/devices/system/cpu/online")?))
}

/// A CPU that is running.
pub fn any_cpu() -> u32 {
    online_cpus().ok().and_then(|cpus| cpus.first().copied()).unwrap_or(0)
}

/// Opens an event on any CPU, whose program runs on all of them.
pub fn perf_event_anywhere(attr: &PerfAttr) -> io::Result<OwnedFd> {
    static CPU: OnceLock<u32> = OnceLock::new();
    match perf_event_open(attr, -1, *CPU.get_or_init(any_cpu) as i32) {
        // It may have gone offline since.
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => perf_event_open(attr, -1, any_cpu() as i32),
        other => other,
    }
}

/// Number of copies that a per-CPU map has: one for each CPU that there may be, without those that the list leaves out
/// (`bpf_percpu_hash_copy` of kernel/bpf/hashtab.c).
pub fn possible_cpus() -> io::Result<usize> {
    Ok(possible_cpu_list()?.len().max(1))
}

/// How many numbers of CPUs there may be, from 0 to the highest: more than [`possible_cpus`] where the list has gaps.
pub fn cpu_numbers() -> io::Result<u32> {
    Ok(possible_cpu_list()?.into_iter().max().unwrap_or(0) + 1)
}

fn possible_cpu_list() -> io::Result<Vec<u32>> {
    Ok(parse_cpu_list(&std::fs::read_to_string("/sys/devices/system/cpu/possible")?))
}

/// Bytes of a page of memory.
pub fn page_size() -> usize {
    // SAFETY: takes an integer.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Memory shared with the kernel: the globals of the programs (an array map with BPF_F_MMAPABLE), the buffer of a perf
/// event. Both sides use aligned 64-bit words.
#[derive(Debug)]
pub struct SharedWords {
    base: std::ptr::NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: all access goes through atomics.
unsafe impl Send for SharedWords {}
// SAFETY: all access goes through atomics.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps `bytes` of what the descriptor is of.
    pub fn map(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<SharedWords> {
        let bytes = bytes.next_multiple_of(8).max(8);
        // SAFETY: asks for a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = std::ptr::NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SharedWords { base, words: bytes / 8 })
    }

    /// The word at a byte offset; `None` outside the memory or unaligned.
    pub fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !offset.is_multiple_of(8) || offset / 8 >= self.words {
            return None;
        }
        // SAFETY: in bounds by the test above; the mapping lives as long as `self`.
        Some(unsafe { self.base.add(offset / 8).as_ref() })
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: unmaps what `map` mapped; no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.words * 8) };
    }
}

/// Whether a descriptor becomes readable within so many milliseconds.
pub fn readable_within(fd: BorrowedFd<'_>, milliseconds: i32) -> bool {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live entry, as the second argument says.
    unsafe { libc::poll(&raw mut entry, 1, milliseconds) == 1 }
}

/// In a forked child: SIGTERM when the process that forked it is gone, even by SIGKILL. `parent` is that process: when
/// it is gone already, returns false. Async-signal-safe.
pub fn end_with(parent: u32) -> bool {
    // SAFETY: both take integers at most, and are async-signal-safe.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        libc::getppid() as u32 == parent
    }
}

/// Allows as many open files as root set for us: a wildcard may need one or two for each function.
pub fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes, then reads one rlimit. Failing changes nothing; opening will say EMFILE.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list("0\n"), [0]);
        assert!(parse_cpu_list("\n").is_empty());
        assert!(parse_cpu_list("x-y").is_empty());
    }

    #[test]
    fn perf_attributes_have_the_kernels_size() {
        assert_eq!(std::mem::size_of::<PerfAttr>(), 112);
    }
}
