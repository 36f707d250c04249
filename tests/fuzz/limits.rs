//! The time that one input may take.

use cpu_time::ThreadTime;
use std::time::Duration;

/// Of processor time: what else runs on the machine does not count. Instrumented code is slower than it is in use.
const MOST: Duration = Duration::from_secs(1);

pub fn watched<T>(run: impl FnOnce() -> T) -> T {
    let start = ThreadTime::now();
    let result = run();
    let took = start.elapsed();
    assert!(took < MOST, "this took {took:?}");
    result
}
