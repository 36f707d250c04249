//! Time series (`tseries`): the intervals that a chart shows, and the chart as text. Times are wall-clock times;
//! an interval without values between others has an empty row.

use super::clock;
use super::number::Int;
use super::value::word;
use rtrace_core::types::{Agg, Series};

/// Columns between the edges of a chart; the edges take values, too.
const WIDTH: usize = 51;

/// An interval: when it starts, nanoseconds on the wall clock, and its value, if it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub start: i128,
    pub value: Option<Int>,
}

/// The intervals from the first with a value to the last, as many at most as the series keeps.
pub fn points(agg: &Agg, bytes: &[u8], div: u64) -> Vec<Point> {
    let Agg::Tseries { interval, intervals, of, signed } = agg else { return Vec::new() };
    let mut slots: Vec<(u64, Int)> = bytes
        .chunks_exact(Agg::SERIES_WORDS as usize * 8)
        .filter_map(|slot| {
            let (number, value, weight) = (word(slot, 0, 8), word(slot, 8, 8), word(slot, 16, 8));
            let value = Int { value, signed: *signed };
            let value = if *of == Series::Avg { value.divided(weight) } else { value };
            (weight > 0).then(|| (number, value.divided(div)))
        })
        .collect();
    slots.sort_by_key(|s| s.0);
    let Some(last) = slots.last().map(|s| s.0) else { return Vec::new() };
    let oldest = last.saturating_sub(u64::from(*intervals).saturating_sub(1));
    slots.retain(|s| s.0 >= oldest);
    let Some(first) = slots.first().map(|s| s.0) else { return Vec::new() };
    (first..=last)
        .map(|number| Point {
            start: i128::from(number) * i128::from(*interval),
            value: slots.binary_search_by_key(&number, |s| s.0).ok().and_then(|i| slots.get(i)).map(|s| s.1),
        })
        .collect()
}

/// Name of the times' last part and its digits: what tells two intervals apart.
fn resolution(interval: u64, rows: usize) -> (&'static str, usize) {
    match interval {
        _ if rows < 2 => (".ns", 9),
        1_000_000_000.. => ("", 0),
        1_000_000.. => (".ms", 3),
        1_000.. => (".us", 6),
        _ => (".ns", 9),
    }
}

/// Appends the chart; without a value, words that say so and no line end.
pub fn text(out: &mut Vec<u8>, agg: &Agg, points: &[Point]) {
    let values = || points.iter().filter_map(|p| p.value);
    let wide = || values().map(Int::wide);
    let (Some(mut low), Some(mut high), Agg::Tseries { interval, .. }) = (wide().min(), wide().max(), agg) else {
        return out.extend_from_slice(b"<no data>");
    };
    if low == high {
        // Room on both sides, as far as the type has any.
        let signed = values().next().is_some_and(|v| v.signed);
        let (least, most) =
            if signed { (i128::from(i64::MIN), i128::from(i64::MAX)) } else { (0, i128::from(u64::MAX)) };
        (low, high) = ((low - 1).max(least), (high + 1).min(most));
    }
    let (unit, digits) = resolution(*interval, points.len());
    let margin = if digits == 0 { 8 } else { 9 + digits };
    let column = |v: i128| ((v - low) * (WIDTH as i128 + 1) / (high - low).max(1)) as usize;
    let scale = |out: &mut Vec<u8>| {
        let (low, high) = (low.to_string(), high.to_string());
        let gap = (WIDTH + 2).saturating_sub(low.len() + high.len());
        out.extend_from_slice(format!("{:margin$} {low}{:gap$}{high}\n", "", "").as_bytes());
    };
    let line = "_".repeat(WIDTH);
    scale(out);
    out.extend_from_slice(format!("{:margin$} |{line}|\n", format!("hh:mm:ss{unit}")).as_bytes());
    for point in points {
        let start = out.len();
        clock::strftime(out, "%H:%M:%S", point.start);
        if digits > 0 {
            let fraction = format!("{:09}", point.start.rem_euclid(1_000_000_000));
            out.push(b'.');
            out.extend(fraction.bytes().take(digits));
        }
        super::number::pad(out, start, Some(margin as u32 + 1), true);
        let mut row = vec![b' '; WIDTH + 2];
        let mut put = |column: usize, mark: u8| {
            if let Some(place) = row.get_mut(column) {
                *place = mark;
            }
        };
        put(0, b'|');
        put(WIDTH + 1, b'|');
        if low < 0 && high > 0 {
            put(column(0), b'.');
        }
        if let Some(v) = point.value {
            put(column(v.wide()), b'*');
        }
        out.extend_from_slice(&row);
        out.push(b' ');
        match point.value {
            Some(v) => super::number::decimal(out, v),
            None => out.push(b'-'),
        }
        out.push(b'\n');
    }
    out.extend_from_slice(format!("{:margin$} v{line}v\n", "").as_bytes());
    scale(out);
}

/// Appends the intervals that have values as a list of objects.
pub fn json(out: &mut Vec<u8>, points: &[Point]) {
    out.push(b'[');
    let mut first = true;
    for point in points {
        let Some(value) = point.value else { continue };
        out.extend_from_slice(if first { b"{\"interval_start\":\"" } else { b",{\"interval_start\":\"" });
        first = false;
        clock::strftime(out, "%Y-%m-%d %H:%M:%S.%k", point.start);
        out.extend_from_slice(b"\",\"value\":");
        super::json::integral(out, value.wide());
        out.push(b'}');
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(interval: u64, intervals: u32, of: Series, slots: &[(u64, i64, u64)]) -> String {
        let agg = Agg::Tseries { interval, intervals, of, signed: true };
        let bytes: Vec<u8> = slots.iter().flat_map(|s| [s.0, s.1 as u64, s.2]).flat_map(u64::to_le_bytes).collect();
        let mut out = Vec::new();
        text(&mut out, &agg, &points(&agg, &bytes, 1));
        String::from_utf8(out).unwrap()
    }

    /// The rows without their times, which depend on the time zone.
    fn rows(chart: &str) -> Vec<&str> {
        chart.lines().map(|l| l.split_once(' ').map_or(l, |(_, rest)| rest)).collect()
    }

    #[test]
    fn a_chart_has_a_row_for_every_interval() {
        let text = chart(100_000_000, 8, Series::Last, &[(10, -1, 1), (13, 0, 1), (12, 2, 1), (0, 9, 0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "             -1                                                  2");
        assert_eq!(lines[1], "hh:mm:ss.ms  |___________________________________________________|");
        assert!(lines[2].contains(":01.000 *                .                                  | -1"), "{text}");
        assert!(lines[3].ends_with(".100 |                .                                  | -"), "{text}");
        assert!(lines[4].ends_with(".200 |                .                                  * 2"), "{text}");
        assert!(lines[5].ends_with(".300 |                *                                  | 0"), "{text}");
        assert_eq!(lines[6], "             v___________________________________________________v");
        assert_eq!(lines.len(), 8);
    }

    #[test]
    fn one_value_stands_in_the_middle() {
        let text = chart(1_000_000_000, 3, Series::Avg, &[(5, 13, 2)]);
        assert_eq!(rows(&text)[2], "|                         *                         | 6");
        assert!(
            text.starts_with("                   5                                                   7\n"),
            "{text}"
        );
        let text = chart(1, 3, Series::Last, &[(5, i64::MIN, 2)]);
        assert!(text.contains(" -9223372036854775808             -9223372036854775807\n"), "{text}");
        assert!(text.contains(" *                                                   | -92"), "{text}");
    }

    #[test]
    fn old_intervals_and_empty_series() {
        let agg = Agg::Tseries { interval: 1000, intervals: 2, of: Series::Sum, signed: false };
        let bytes: Vec<u8> = [5u64, 1, 1, 9, 2, 1].iter().flat_map(|w| w.to_le_bytes()).collect();
        let only = [Point { start: 9000, value: Some(Int::unsigned(2)) }];
        assert_eq!(points(&agg, &bytes, 1), only);
        assert_eq!(points(&agg, &[], 1), []);
        assert_eq!(chart(1000, 2, Series::Last, &[]), "<no data>");
    }
}
