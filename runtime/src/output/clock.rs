//! Wall-clock time as text: `strftime` formats in local time, with `%f` for microseconds (and `%k`,
//! `%l` for nanoseconds and milliseconds, as the reference has them), and the step from the kernel's
//! time since boot to the wall clock.

use std::ffi::CString;

const SECOND: i128 = 1_000_000_000;
/// The text of a time that cannot be formatted.
const UNKNOWN: &[u8] = b"(?)";

/// Converts times since boot. The distance to the wall clock is taken once, so that times of one run
/// never go backwards.
#[derive(Default)]
pub struct Clock {
    boot: Option<i128>,
}

impl Clock {
    /// Nanoseconds of wall-clock time for nanoseconds since boot.
    pub fn wall(&mut self, since_boot: u64) -> i128 {
        let boot = *self.boot.get_or_insert_with(|| now(libc::CLOCK_REALTIME) - now(libc::CLOCK_BOOTTIME));
        boot + i128::from(since_boot)
    }
}

/// A clock's time in nanoseconds.
pub fn now(clock: libc::clockid_t) -> i128 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that lives through the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    i128::from(time.tv_sec) * SECOND + i128::from(time.tv_nsec)
}

/// Appends a wall-clock time in local time.
pub fn strftime(out: &mut Vec<u8>, format: &str, wall: i128) {
    let (seconds, nanos) = (wall.div_euclid(SECOND), wall.rem_euclid(SECOND) as u64);
    let format = extensions(format, nanos);
    if format.is_empty() {
        return;
    }
    let text = i64::try_from(seconds).ok().and_then(|s| formatted(&format, s));
    out.extend_from_slice(text.as_deref().unwrap_or(UNKNOWN));
}

/// Replaces what libc does not know.
fn extensions(format: &str, nanos: u64) -> String {
    let mut text = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('f') => text.push_str(&format!("{:06}", nanos / 1000)),
            Some('k') => text.push_str(&format!("{nanos:09}")),
            Some('l') => text.push_str(&format!("{:03}", nanos / 1_000_000)),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}

fn formatted(format: &str, seconds: i64) -> Option<Vec<u8>> {
    let format = CString::new(format).ok()?;
    // SAFETY: `tm` is plain data for which all-zero bytes are valid.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live through the call.
    if unsafe { libc::localtime_r(&seconds, &mut parts) }.is_null() {
        return None;
    }
    let mut buffer = vec![0u8; 128.max(format.as_bytes().len() * 4)];
    loop {
        // SAFETY: the buffer's true size is given, the format is NUL-terminated, `parts` is initialised.
        let length = unsafe { libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &parts) };
        if length > 0 {
            buffer.truncate(length);
            return Some(buffer);
        }
        // Zero also means an empty result (`%p` where the locale has none): give up at some size.
        if buffer.len() > 1 << 16 {
            return None;
        }
        buffer.resize(buffer.len() * 4, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(format: &str, wall: i128) -> String {
        let mut out = Vec::new();
        strftime(&mut out, format, wall);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn formats_and_fractions() {
        let wall = 1_700_000_000 * SECOND + 12_345_678;
        assert_eq!(at("%s.%f", wall), "1700000000.012345");
        assert_eq!(at("%k %l", wall), "012345678 012");
        assert_eq!(at("100%% %Y", wall), "100% 2023");
        assert_eq!(at("", wall), "");
        assert_eq!(at("%Y", i128::MAX), "(?)");
        let long = "%Y".repeat(300);
        assert_eq!(at(&long, wall).len(), 1200);
    }

    #[test]
    fn boot_time_becomes_wall_time() {
        let mut clock = Clock::default();
        let wall = clock.wall(now(libc::CLOCK_BOOTTIME) as u64);
        assert!((now(libc::CLOCK_REALTIME) - wall).abs() < 2 * SECOND);
        assert_eq!(clock.wall(5) - clock.wall(0), 5);
    }
}
