//! Modules that come and go while probes are attached to functions by address.
//!
//! Between the moment when an address is read and the one when a probe is there, another module may have taken the place.
//! Once the probe is there, modules that are still the same have kept their places.

use super::Reason;
use rtrace_core::bundle::{AttachPoint, Target};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Attempts before all functions of modules are left out. Each leaves out one module at least, so that those that stay are
/// attached unless very many come and go.
const ATTEMPTS: usize = 16;

/// The identity of a loaded module; none if it is not loaded.
pub(super) type Stamp = Option<u64>;

/// Modules by name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stamps(BTreeMap<String, Stamp>);

/// The number of its folder is new each time that a module is loaded.
pub(super) fn stamp(module: &str) -> Stamp {
    std::fs::metadata(Path::new("/sys/module").join(module)).ok().map(|folder| folder.ino())
}

impl Stamps {
    pub fn of<'a>(modules: impl Iterator<Item = &'a str>) -> Stamps {
        Stamps::by(modules, &stamp)
    }

    fn by<'a>(modules: impl Iterator<Item = &'a str>, stamp: &dyn Fn(&str) -> Stamp) -> Stamps {
        let mut stamps = BTreeMap::new();
        for module in modules.filter(|module| *module != "vmlinux") {
            if !stamps.contains_key(module) {
                stamps.insert(module.to_owned(), stamp(module));
            }
        }
        Stamps(stamps)
    }

    /// Whether a module is still the one that it was.
    pub fn holds(&self, module: &str) -> bool {
        self.0.get(module).is_none_or(|known| known.is_some() && stamp(module) == *known)
    }

    /// The modules that are gone, or not what they were any more; they are not asked about again.
    pub fn take_gone(&mut self) -> Vec<String> {
        let mut gone = self.take_changed_by(&stamp);
        self.0.retain(|name, known| {
            gone.extend(known.is_none().then(|| name.clone()));
            known.is_some()
        });
        gone
    }

    fn take_changed_by(&mut self, stamp: &dyn Fn(&str) -> Stamp) -> Vec<String> {
        let mut changed = Vec::new();
        self.0.retain(|name, known| {
            let stays = stamp(name) == *known;
            changed.extend((!stays).then(|| name.clone()));
            stays
        });
        changed
    }
}

/// Modules that probes are in, as they were when the first of these was attached, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Inside(BTreeMap<String, (Stamp, usize)>);

impl Inside {
    pub fn add(&mut self, module: &str) {
        if let Some((_, count)) = self.0.get_mut(module) {
            *count += 1;
        } else {
            self.0.insert(module.to_owned(), (stamp(module), 1));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn count(&self, module: &str) -> usize {
        self.0.get(module).map_or(0, |(_, count)| *count)
    }

    pub fn stamps(&self) -> Stamps {
        Stamps(self.0.iter().map(|(module, (stamp, _))| (module.clone(), *stamp)).collect())
    }
}

/// The module that a target is in, where it goes by a place in one.
pub(super) fn of(target: &Target) -> Option<&str> {
    match target {
        Target::Kprobe { module: Some(module), .. } if module != "vmlinux" => Some(module),
        _ => None,
    }
}

/// Attaches to many functions so that none of them is another one: where modules came or went meanwhile, it is done again
/// without these. Returns what attaching did, and the points that are gone.
pub(super) fn steadily<'p, W: Copy, T>(
    wanted: &[W],
    point: impl Fn(&W) -> &'p AttachPoint,
    attach: impl FnMut(&[W]) -> T,
) -> (T, Vec<W>) {
    steadily_by(&stamp, wanted, point, attach)
}

fn steadily_by<'p, W: Copy, T>(
    stamp: &dyn Fn(&str) -> Stamp,
    wanted: &[W],
    point: impl Fn(&W) -> &'p AttachPoint,
    mut attach: impl FnMut(&[W]) -> T,
) -> (T, Vec<W>) {
    let mut kept = wanted.to_vec();
    let mut gone = Vec::new();
    let mut leave_out = |kept: &mut Vec<W>, is_gone: &dyn Fn(&str) -> bool| {
        let (out, stay) = kept.iter().partition(|w| of(&point(w).target).is_some_and(is_gone));
        *kept = stay;
        gone.extend::<Vec<W>>(out);
    };
    for _ in 0..ATTEMPTS {
        let mut stamps = Stamps::by(kept.iter().filter_map(|w| of(&point(w).target)), stamp);
        let done = attach(&kept);
        let changed = stamps.take_changed_by(stamp);
        if changed.is_empty() {
            return (done, gone);
        }
        drop(done);
        leave_out(&mut kept, &|module| changed.iter().any(|m| m == module));
    }
    leave_out(&mut kept, &|_| true);
    (attach(&kept), gone)
}

/// The reason why a function of a module that did not stay loaded is left out.
pub(super) fn went(module: &str) -> Reason {
    match stamp(module) {
        None => not_loaded(module),
        Some(_) => Reason(format!("module {module} was loaded or unloaded in the meantime")),
    }
}

/// Why nothing of a module can be probed now, known without asking the kernel for it, which takes long for each of many.
pub(super) fn absent(module: &str) -> Option<Reason> {
    let folder = Path::new("/sys/module").join(module);
    match std::fs::read_to_string(folder.join("initstate")) {
        Ok(state) => (state.trim() != "live").then(|| Reason(format!("module {module} is being loaded or unloaded"))),
        // What is built in has no state.
        Err(_) => (!folder.exists()).then(|| not_loaded(module)),
    }
}

pub(super) fn not_loaded(module: &str) -> Reason {
    Reason(format!("module {module} is not loaded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(module: Option<&str>) -> AttachPoint {
        let module = module.map(str::to_owned);
        let target = Target::Kprobe { function: "f".into(), module, offset: 0, ret: false, shared: false };
        AttachPoint { probe: 0, target, span: (0, 0) }
    }

    /// Attaches to functions of the kernel and of two modules; returns how many were attached to in the end, how many are
    /// gone, and the attempts.
    fn attach(stamp: &dyn Fn(&str) -> Stamp) -> (usize, usize, usize) {
        let points = [at(None), at(Some("vmlinux")), at(Some("one")), at(Some("two"))];
        let points: Vec<&AttachPoint> = points.iter().collect();
        let mut attempts = 0;
        let count = |points: &[&AttachPoint]| {
            attempts += 1;
            points.len()
        };
        let (done, gone) = steadily_by(stamp, &points, |p| p, count);
        (done, gone.len(), attempts)
    }

    #[test]
    fn what_stays_is_attached_once() {
        assert_eq!(attach(&|_| Some(7)), (4, 0, 1));
        // What is not there before and after fails by itself.
        assert_eq!(attach(&|_| None), (4, 0, 1));
    }

    #[test]
    fn what_changes_is_left_out() {
        let asked = std::cell::Cell::new(0);
        let next = || asked.replace(asked.get() + 1);
        assert_eq!(attach(&|module| Some(if module == "two" { next() } else { 7 })), (3, 1, 2));
        assert_eq!(attach(&|_| Some(next())), (2, 2, 2));
    }

    #[test]
    fn a_module_is_the_one_that_it_was() {
        let mut stamps = Stamps::of(["no such module"].into_iter());
        assert!(!stamps.holds("no such module"));
        assert!(stamps.take_changed_by(&|_| None).is_empty() && stamps.holds("another"));
        assert_eq!(stamps.take_gone(), ["no such module"]);
        assert!(stamps.take_gone().is_empty());
    }

    #[test]
    fn absent_modules() {
        assert!(absent("no such module").is_some_and(|r| r.0.contains("not loaded")));
    }
}
