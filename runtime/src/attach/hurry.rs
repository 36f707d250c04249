//! Making the kernel hurry while many probes are attached or detached.
//!
//! Taking out a kprobe, uprobe or tracepoint waits for grace periods of RCU, one after the other under one lock of
//! the kernel (`event_mutex`), so that threads of ours would not overlap: 15 to 50 ms for each probe. While
//! `/sys/kernel/rcu_expedited` is 1, a grace period takes a fraction of a millisecond; the price is an interrupt on the
//! other CPUs for each. Kprobes on instructions are made into jumps by a worker of the kernel that keeps others waiting
//! while it collects what there is; with `/proc/sys/debug/kprobes-optimization` 0 it stays out of the way, and makes all
//! of them at once when that is 1 again.
//!
//! Both are settings for just this purpose and change nothing but speed. They are changed for a moment only, for many
//! probes only, by one rtrace at a time, and put back even if this process is killed ([`SettingsGuard`]).

use rtrace_sys::{self as sys, Setting, SettingsGuard};
use std::fs::File;
use std::io::{Read, Write};

/// With fewer probes than this, all stays as it is.
pub(super) const MANY: usize = 8;

/// A setting of the kernel, and what makes it hurry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knob(&'static str, &'static str);

pub(super) const GRACE_PERIODS: Knob = Knob("/sys/kernel/rcu_expedited", "1");
pub(super) const JUMPS: Knob = Knob("/proc/sys/debug/kprobes-optimization", "0");

/// The kernel hurries until this is dropped.
#[derive(Debug)]
pub(super) struct Hurry(#[expect(dead_code, reason = "dropping it restores the settings")] SettingsGuard);

impl Hurry {
    /// Changes what is not yet as wanted. `None`: nothing was changed, because it was so already, is not allowed (a
    /// container), or another rtrace is at it; everything works, slower perhaps.
    pub fn start(knobs: &[Knob]) -> Option<Hurry> {
        let mut settings = Vec::new();
        let mut changes = Vec::new();
        for Knob(path, value) in knobs {
            let open = || File::options().read(true).write(true).open(path);
            let (Ok(mut file), Ok(writer)) = (open(), open()) else { continue };
            let mut old = Vec::new();
            if !sys::try_lock(&file) || file.read_to_end(&mut old).is_err() || old.trim_ascii() == value.as_bytes() {
                continue;
            }
            settings.push(Setting { file, old });
            changes.push((writer, *value));
        }
        if settings.is_empty() {
            return None;
        }
        let keeper = SettingsGuard::start(settings).ok()?;
        for (mut file, value) in changes {
            // A setting that cannot be changed stays as it is.
            let _ = file.write_all(value.as_bytes());
        }
        Some(Hurry(keeper))
    }
}
