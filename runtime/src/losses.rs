//! The losses of a run by location and cause, and their messages. Nothing is dropped silently: whatever the programs
//! counted comes out of [`collect`], what the kernel or the run did is added there.

use crate::load::Maps;
use rtrace_core::bundle::{Action, Bundle, EventDef, STACKS_SYMBOL};
use rtrace_core::source::Span;

/// A loss: a count and its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub count: u64,
    pub of: Of,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// Events that found no room in the ring buffer, of the call at this place.
    Event { span: (u32, u32) },
    /// Prints of a map that were done together with an earlier one: its record had found no room.
    Merged { span: (u32, u32) },
    /// Warnings about helpers of the kernel that failed.
    Failure,
    /// Updates of a map (index) that failed: it was full.
    Update { map: usize },
    /// Stacks that found no room.
    Stack,
    /// User stacks that led into files whose unwind tables were not there yet.
    Unready,
    /// A loop that was stopped after so many rounds.
    Loop { span: (u32, u32), range: bool, rounds: u32 },
    /// Runs of a clause, or of one probe of it (index), that the kernel left out, since a program was running on the CPU
    /// already or a return probe followed as many calls as it can.
    Run { span: (u32, u32), probe: Option<u32> },
    /// Packets of this call on processors that were offline when the run began, and have no buffer.
    Unbuffered { span: (u32, u32) },
    /// Packets that found no room in their buffers.
    Packet,
    /// Packets that have no place in a capture file of IP packets.
    Foreign,
}

impl Loss {
    /// The name in JSON.
    pub fn kind(&self) -> &'static str {
        match self.of {
            Of::Event { .. } => "events",
            Of::Merged { .. } => "merged",
            Of::Failure => "warnings",
            Of::Update { .. } => "updates",
            Of::Stack => "stacks",
            Of::Unready => "unready_stacks",
            Of::Loop { .. } => "loops",
            Of::Run { .. } => "runs",
            Of::Packet | Of::Unbuffered { .. } => "packets",
            Of::Foreign => "not_ip",
        }
    }

    /// The place in the script.
    pub fn span(&self) -> Option<(u32, u32)> {
        match self.of {
            Of::Event { span } | Of::Merged { span } | Of::Unbuffered { span } => Some(span),
            Of::Loop { span, .. } | Of::Run { span, .. } => Some(span),
            Of::Failure | Of::Update { .. } | Of::Stack | Of::Unready | Of::Packet | Of::Foreign => None,
        }
    }

    /// The name of its subject: the map, or the probes of the clause.
    pub fn name<'b>(&self, bundle: &'b Bundle) -> Option<(&'static str, &'b str)> {
        match self.of {
            Of::Update { map } => bundle.maps.get(map).map(|m| ("map", m.name.as_str())),
            Of::Run { span, probe } => {
                let probe = probe.and_then(|p| bundle.probes.get(p as usize)).map(|p| p.name.as_str());
                Some(("probe", probe.unwrap_or_else(|| probes_of(bundle, span))))
            }
            _ => None,
        }
    }

    /// A sentence.
    pub fn text(&self, bundle: &Bundle) -> String {
        let count = self.count;
        let name = self.name(bundle).map_or("", |(_, name)| name);
        let place = self.span().and_then(|at| bundle.sources.place(at.0));
        let place = place.map_or_else(|| "?".into(), |p| format!("{}:{}", p.line, p.column));
        match self.of {
            Of::Event { span } => {
                let call = bundle.sources.text(Span { start: span.0, end: span.1 });
                let call = call.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
                format!("lost {count} events of {call} at {place} because the buffer was full (config perf_rb_pages)")
            }
            Of::Merged { .. } => {
                let times = if count == 1 { "time" } else { "times" };
                format!(
                    "the print at {place} was merged with the one before {count} {times} because the buffer was full"
                )
            }
            Of::Failure => format!("lost {count} warnings of -k because the buffer was full (config perf_rb_pages)"),
            Of::Update { map } => {
                let most = bundle.maps.get(map).map_or(0, |m| m.max_entries);
                format!("{count} updates of map {name} failed; it holds {most} entries at most (config max_map_keys)")
            }
            Of::Stack => {
                let room = room_for_stacks(bundle);
                format!("lost {count} stacks: at most {room} can be stored (config max_map_keys)")
            }
            Of::Unready => format!(
                "{count} user stacks were taken before the unwind tables of their files were ready: frames may be missing"
            ),
            Of::Loop { range, rounds, .. } => {
                let word = if range { "for" } else { "while" };
                let times = if count == 1 { String::new() } else { format!(" ({count} times)") };
                format!("a {word} loop at {place} was stopped after {rounds} iterations{times}")
            }
            Of::Run { .. } => {
                let times = if count == 1 { "time" } else { "times" };
                let or = if name.starts_with("kr") { " or too many calls were open" } else { "" };
                format!("missed {name} {count} {times} because a probe was running on the same CPU{or}")
            }
            Of::Unbuffered { .. } => {
                format!("lost {count} packets of {place} on processors that were offline at the start")
            }
            Of::Packet => format!("lost {count} packets because the packet buffers were full"),
            Of::Foreign => format!("{count} non-IP packets were left out of the capture files"),
        }
    }
}

/// The attach points of a clause as written.
fn probes_of(bundle: &Bundle, span: (u32, u32)) -> &str {
    let text = bundle.sources.text(Span { start: span.0, end: span.1 });
    // A clause goes on with its condition or its block; a path has slashes, too, but no blank before them.
    let end = text.find('{').into_iter().chain(text.find(" /")).chain(text.find("\n/")).min().unwrap_or(text.len());
    text.get(..end).unwrap_or(text).trim()
}

/// Most stacks that are kept for maps and variables at once.
pub fn room_for_stacks(bundle: &Bundle) -> u32 {
    bundle.map_objects.iter().find(|o| o.symbol == STACKS_SYMBOL).map_or(0, |o| o.max_entries)
}

/// Events of one call that found no room and are gone.
pub fn lost_events(maps: &Maps, event: &EventDef) -> u64 {
    if event.action.is_kept() { 0 } else { maps.counter(event.lost) }
}

/// All events that are gone.
pub fn all_events(bundle: &Bundle, maps: &Maps) -> u64 {
    // Those about failures share one word.
    let script = bundle.events.iter().filter(|e| !matches!(e.action, Action::Failure { .. }));
    let shared = bundle.globals.failures.map_or(0, |lost| maps.counter(lost));
    script.map(|e| lost_events(maps, e)).sum::<u64>() + shared
}

/// The losses that the programs counted.
pub fn collect(bundle: &Bundle, maps: &Maps) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut add = |count, of| {
        if count > 0 {
            losses.push(Loss { count, of });
        }
    };
    let script = |e: &&EventDef| !matches!(e.action, Action::Failure { .. });
    for event in bundle.events.iter().filter(script) {
        let span = event.span;
        let of =
            if matches!(event.action, Action::Packet { .. }) { Of::Unbuffered { span } } else { Of::Event { span } };
        add(lost_events(maps, event), of);
    }
    add(bundle.globals.failures.map_or(0, |lost| maps.counter(lost)), Of::Failure);
    for map in 0..bundle.maps.len() {
        add(maps.lost_updates(map), Of::Update { map });
    }
    add(maps.lost_stacks(), Of::Stack);
    add(maps.unready_stacks(), Of::Unready);
    for l in &bundle.loops {
        add(maps.counter(l.stopped), Of::Loop { span: l.span, range: l.range, rounds: l.rounds });
    }
    losses
}
