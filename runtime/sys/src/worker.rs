//! A child that does work which may take too long, take too much memory or end the process that does it: reading files
//! that others made, and change while they are read. It is asked over a socket, and killed when it does not answer.

use super::{fork, keep_capabilities, page_size};
use crate::os;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The child's name.
const NAME: &std::ffi::CStr = c"rtrace-names";
/// How long a killed child may take to be gone. It is left to the end of this process if it cannot be killed now.
const GONE: Duration = Duration::from_secs(2);
/// The most bytes of an answer.
const LONGEST: u32 = 16 << 20;

/// The child, from its start until this is dropped.
#[derive(Debug)]
pub struct Worker {
    line: UnixStream,
    child: libc::pid_t,
}

/// The reason why there is no answer. The child can no longer be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It took too long.
    Late,
    /// The user wished us to end.
    Interrupted,
    /// The child ended, by this signal if by one.
    Ended(Option<i32>),
}

impl Worker {
    /// Starts a child that runs `work` with its end of the socket, may take so many bytes of memory more than we have,
    /// and has of our capabilities those whose bits are set.
    pub fn start(memory: u64, capabilities: u64, work: impl FnOnce(UnixStream)) -> io::Result<Worker> {
        let (ours, theirs) = UnixStream::pair()?;
        let limit = data_in_use().saturating_add(memory);
        let parent = std::process::id();
        // SAFETY: the child allocates, which the C library allows after a fork, and takes no other lock that a thread of
        // ours may hold.
        let child = unsafe { fork(|| run(theirs.as_raw_fd(), parent, limit, capabilities, work)) }?;
        drop(theirs);
        // Only what is on its way of an answer that has begun is waited for by reading.
        ours.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(Worker { line: ours, child })
    }

    /// Sends a message that has no answer.
    pub fn tell(&mut self, message: &[u8]) -> Result<(), Failure> {
        send(&mut self.line, message).map_err(|_| self.ended())
    }

    /// Sends a message and waits for the answer, at most for a time.
    pub fn ask(&mut self, message: &[u8], time: Duration) -> Result<Vec<u8>, Failure> {
        self.tell(message)?;
        os::await_readable(&self.line, time).map_err(|late| match late {
            os::Late::Time => Failure::Late,
            os::Late::End => Failure::Interrupted,
        })?;
        receive(&mut self.line).ok_or_else(|| self.ended())
    }

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.unsigned_abs()
    }

    /// How the child ended, which closed its socket.
    fn ended(&mut self) -> Failure {
        let status = self.wait();
        let signal = status.filter(|s| libc::WIFSIGNALED(*s)).map(|s| libc::WTERMSIG(s));
        Failure::Ended(signal)
    }

    /// Its status, if it has ended or does so soon.
    fn wait(&mut self) -> Option<i32> {
        let until = Instant::now() + GONE;
        while self.child > 0 {
            let mut status = 0;
            // SAFETY: writes one integer. Waits for a child of ours that nobody else waits for.
            let found = unsafe { libc::waitpid(self.child, &raw mut status, libc::WNOHANG) };
            if found != 0 {
                self.child = 0;
                return (found > 0).then_some(status);
            }
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.child > 0 {
            // SAFETY: takes integers; the child was not waited for, so that the number is still its own.
            unsafe { libc::kill(self.child, libc::SIGKILL) };
            self.wait();
        }
    }
}

/// In the child: the next message, `None` when there are no more.
pub fn receive(line: &mut UnixStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    line.read_exact(&mut length).ok()?;
    let length = u32::from_ne_bytes(length);
    if length > LONGEST {
        return None;
    }
    let mut message = vec![0; length as usize];
    line.read_exact(&mut message).ok()?;
    Some(message)
}

/// In the child: sends an answer; `None` when nobody waits for it any more.
pub fn answer(line: &mut UnixStream, message: &[u8]) -> Option<()> {
    send(line, message).ok()
}

/// A message with its length before it.
fn send(line: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    line.write_all(&(message.len() as u32).to_ne_bytes())?;
    line.write_all(message)
}

/// Bytes of private writable memory, as RLIMIT_DATA counts them (Linux 4.7).
fn data_in_use() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(5).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * page_size() as u64
}

/// The child: keeps nothing of what it inherited but the socket, works, and ends.
///
/// # Safety
/// Only in a new child.
unsafe fn run(line: i32, parent: u32, limit: u64, capabilities: u64, work: impl FnOnce(UnixStream)) -> ! {
    const LINE: i32 = 3;
    // SAFETY: system calls that take integers and live memory. Descriptor 3 is a new copy that nobody else owns; those
    // whose owners were copied with the process are closed, and their owners never run again.
    let line = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() as u32 != parent {
            libc::_exit(0);
        }
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        let data = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        libc::setrlimit(libc::RLIMIT_DATA, &raw const data);
        // Messages of a failure are ours to write; and whoever reads our output must not wait for the child.
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        let line = libc::fcntl(line, libc::F_DUPFD, 64);
        for fd in 0..LINE {
            if libc::dup2(null, fd) < 0 {
                libc::close(fd);
            }
        }
        libc::dup2(line, LINE);
        libc::syscall(libc::SYS_close_range, LINE + 1, u32::MAX, 0);
        OwnedFd::from_raw_fd(LINE)
    };
    // What cannot be given up stays: reading is still what is done with it.
    let _ = keep_capabilities(capabilities);
    let result = catch_unwind(AssertUnwindSafe(|| work(UnixStream::from(line))));
    // SAFETY: ends the process without what is done at the end of ours.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(20);

    /// Does what it is told, and says it back.
    fn work(mut line: UnixStream) {
        while let Some(message) = receive(&mut line) {
            match message.as_slice() {
                b"wait" => std::thread::sleep(TIME),
                b"panic" => panic!("as it was told"),
                // SAFETY: takes an integer.
                b"bus" => unsafe {
                    libc::signal(libc::SIGBUS, libc::SIG_DFL);
                    libc::raise(libc::SIGBUS);
                    let mut set = std::mem::MaybeUninit::uninit();
                    libc::sigemptyset(set.as_mut_ptr());
                    libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
                },
                b"memory" => drop(std::hint::black_box(vec![1u8; 1 << 30])),
                _ => {}
            }
            if answer(&mut line, &message).is_none() {
                return;
            }
        }
    }

    fn worker() -> Worker {
        Worker::start(1 << 28, u64::MAX, work).unwrap()
    }

    #[test]
    fn questions_and_answers() {
        let mut worker = worker();
        for question in [&b""[..], b"one", &[7; 100_000]] {
            assert_eq!(worker.ask(question, TIME).as_deref(), Ok(question));
        }
        let child = worker.child;
        drop(worker);
        assert!(!std::path::Path::new(&format!("/proc/{child}")).exists());
    }

    #[test]
    fn what_the_child_does_happens_to_the_child() {
        assert_eq!(worker().ask(b"panic", TIME), Err(Failure::Ended(None)));
        assert_eq!(worker().ask(b"bus", TIME), Err(Failure::Ended(Some(libc::SIGBUS))));
        assert_eq!(worker().ask(b"memory", TIME), Err(Failure::Ended(Some(libc::SIGABRT))));
        let began = Instant::now();
        assert_eq!(worker().ask(b"wait", Duration::from_millis(50)), Err(Failure::Late));
        assert!(began.elapsed() < TIME / 2);
    }
}
