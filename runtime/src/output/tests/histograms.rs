//! Histograms: their buckets, in text and JSON.

use super::*;
use rtrace_core::hist;

fn buckets(agg: &Agg, samples: &[i64]) -> Vec<u8> {
    let mut counts = vec![0; agg.words() as usize];
    for n in samples {
        let index = match agg {
            Agg::Hist { bits } => hist::log2_bucket((*n).into(), *bits),
            Agg::Lhist { min, max, step } => hist::linear_bucket((*n).into(), *min, *max, *step),
            _ => 0,
        };
        counts[index as usize] += 1;
    }
    words(&counts)
}

fn histogram(agg: Agg, samples: &[i64]) -> (String, String) {
    let bytes = buckets(&agg, samples);
    maps(vec![(map("@h", None, Type::Agg(agg)), vec![(vec![], bytes)])])
}

#[test]
fn log2_histograms() {
    let full = "@".repeat(52);
    let (text, json) = histogram(Agg::Hist { bits: 0 }, &[-5, 0, 1, 2, 3]);
    let half = format!("{}{}", "@".repeat(26), " ".repeat(26));
    assert_eq!(
        text,
        format!(
            "@h:\n(..., 0)               1 |{half}|\n[0]                    1 |{half}|\n\
             [1]                    1 |{half}|\n[2, 4)                 2 |{full}|\n\n"
        )
    );
    assert_eq!(
        json,
        "{\"type\": \"hist\", \"data\": {\"@h\": [{\"max\": -1, \"count\": 1},{\"min\": 0, \"max\": 0, \"count\": 1},\
         {\"min\": 1, \"max\": 1, \"count\": 1},{\"min\": 2, \"max\": 3, \"count\": 2}]}}\n"
    );
    let labels = |agg, samples: &[i64]| -> Vec<String> {
        let (text, _) = histogram(agg, samples);
        text.lines().skip(1).filter_map(|l| l.split("  ").next()).map(str::to_owned).filter(|l| !l.is_empty()).collect()
    };
    assert_eq!(labels(Agg::Hist { bits: 0 }, &[1000, 1024]), ["[512, 1K)", "[1K, 2K)"]);
    assert_eq!(labels(Agg::Hist { bits: 0 }, &[1 << 20]), ["[1M, 2M)"]);
    assert_eq!(labels(Agg::Hist { bits: 0 }, &[i64::MAX]), ["[4E, 8E)"]);
    assert_eq!(labels(Agg::Hist { bits: 2 }, &[5, 8]), ["[5]", "[6]", "[7]", "[8, 10)"]);
    assert_eq!(labels(Agg::Hist { bits: 2 }, &[3583, 3584, 4096]), ["[3072, 3584)", "[3584, 4K)", "[4K, 5K)"]);
    assert_eq!(histogram(Agg::Hist { bits: 0 }, &[]).0, "@h:\n\n");
}

#[test]
fn linear_histograms() {
    let one = |label: &str, bar| {
        format!("{label:<16}{:>8} |{:<52}|\n", if bar { 1 } else { 0 }, "@".repeat(if bar { 52 } else { 0 }))
    };
    let agg = Agg::Lhist { min: 0, max: 4096, step: 1024 };
    let (text, json) = histogram(agg, &[-1, 5000]);
    let rows = [
        one("(..., 0)", true),
        one("[0, 1K)", false),
        one("[1K, 2K)", false),
        one("[2K, 3K)", false),
        one("[3K, 4K)", false),
        one("[4K, ...)", true),
    ];
    assert_eq!(text, format!("@h:\n{}\n", rows.concat()));
    assert!(json.starts_with("{\"type\": \"hist\", \"data\": {\"@h\": [{\"max\": -1, \"count\": 1},{\"min\": 0, \"max\": 1023, \"count\": 0},"));
    assert!(json.ends_with(",{\"min\": 4096, \"count\": 1}]}}\n"), "{json}");
    let (text, _) = histogram(Agg::Lhist { min: 0, max: 10, step: 1 }, &[3]);
    assert_eq!(text, format!("@h:\n{}\n", one("[3]", true)));
    let (text, _) = histogram(Agg::Lhist { min: 0, max: 10, step: 5 }, &[7]);
    assert_eq!(text, format!("@h:\n{}\n", one("[5, 10)", true)));
    let (text, _) = histogram(Agg::Lhist { min: -10, max: 10, step: 3 }, &[-9, 9]);
    assert!(text.contains("\n[-10, -7) ") && text.contains("\n[8, 10) "), "{text}");
}

#[test]
fn histograms_with_keys_ascend_by_samples() {
    let agg = Agg::Hist { bits: 0 };
    let entry = |key: i32, samples: &[i64]| (key.to_le_bytes().to_vec(), buckets(&agg, samples));
    let def = map("@h", Some(Type::I32), Type::Agg(agg.clone()));
    let (text, json) = maps(vec![(def, vec![entry(2, &[70, 70]), entry(1, &[5])])]);
    let full = "@".repeat(52);
    assert_eq!(
        text,
        format!("@h[1]:\n[4, 8)                 1 |{full}|\n\n@h[2]:\n[64, 128)              2 |{full}|\n\n")
    );
    assert_eq!(
        json,
        "{\"type\": \"hist\", \"data\": {\"@h\": {\"1\": [{\"min\": 4, \"max\": 7, \"count\": 1}], \
         \"2\": [{\"min\": 64, \"max\": 127, \"count\": 2}]}}}\n"
    );
}
