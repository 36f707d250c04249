//! Capture files of `skboutput`: the classic pcap format, microseconds, link type RAW (packets begin with their
//! IPv4 or IPv6 header), as the reference writes and every reader knows.
//!
//! The start of a socket buffer's data depends on where it is captured: at `napi_gro_receive` the
//! link-layer header is pulled already, at `dev_queue_xmit` it is there. The script may say how many bytes to
//! leave out; where it does not, an Ethernet header in front of an IP packet is recognised and left out, packet
//! by packet, and headers that the kernel has taken off the data already (a datagram to a closed port is dropped with
//! its data at the UDP header) are put back. Packets of other protocols (ARP, …) have no place in a RAW file and are counted instead.

use crate::events::Packet;
use rtrace_core::bundle::{Action, Bundle};
use rtrace_sys as sys;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// `LINKTYPE_RAW`
const RAW: u32 = 101;
const MAGIC: u32 = 0xa1b2_c3d4;
const LARGEST: u32 = 262_144;

#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}")]
pub struct CaptureError {
    path: String,
    source: io::Error,
}

/// The capture files of a run, opened when their first packet comes.
#[derive(Debug)]
pub struct Captures {
    files: HashMap<String, BufWriter<File>>,
    /// The offset from `CLOCK_BOOTTIME` to the time of day.
    boot_offset: i128,
    /// Packets that were not IP.
    pub skipped: u64,
}

impl Default for Captures {
    fn default() -> Captures {
        let (now, boot) = (sys::clock_ns(libc::CLOCK_REALTIME), sys::clock_ns(libc::CLOCK_BOOTTIME));
        Captures { files: HashMap::new(), boot_offset: i128::from(now) - i128::from(boot), skipped: 0 }
    }
}

impl Captures {
    /// Writes packets to the files that their calls name.
    pub fn write(&mut self, bundle: &Bundle, packets: &[Packet]) -> Result<(), CaptureError> {
        for packet in packets {
            let action = bundle.events.get(packet.event as usize).map(|event| &event.action);
            if let Some(Action::Packet { path, offset }) = action {
                self.append(path, *offset, packet).map_err(|source| CaptureError { path: path.clone(), source })?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        for (path, file) in &mut self.files {
            file.flush().map_err(|source| CaptureError { path: path.clone(), source })?;
        }
        Ok(())
    }

    /// Appends a packet without its first `offset` bytes to a file, which is truncated when the run first
    /// writes to it.
    fn append(&mut self, path: &str, offset: u32, packet: &Packet) -> io::Result<()> {
        // What was not captured is missing at the end.
        let missing = packet.length.saturating_sub(packet.data.len());
        let whole = if offset == 0 { [&packet.before[..], &packet.data].concat() } else { Vec::new() };
        let data = if !packet.before.is_empty() && begins_surely(&whole, missing) {
            &whole
        } else if let Some(data) = ip_packet(packet.data.get(offset as usize..).unwrap_or_default(), missing) {
            data
        } else {
            self.skipped += 1;
            return Ok(());
        };
        let nanoseconds = u64::try_from(i128::from(packet.time) + self.boot_offset).unwrap_or(0);
        let length = data.len() + missing;
        let file = match self.files.entry(path.to_owned()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let mut file = BufWriter::new(File::create(path)?);
                write_header(&mut file)?;
                entry.insert(file)
            }
        };
        write_packet(file, nanoseconds, data, length)
    }
}

fn write_header(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&MAGIC.to_ne_bytes())?;
    // Version 2.4; time zone and accuracy are always 0.
    for half in [2u16, 4, 0, 0, 0, 0] {
        out.write_all(&half.to_ne_bytes())?;
    }
    out.write_all(&LARGEST.to_ne_bytes())?;
    out.write_all(&RAW.to_ne_bytes())
}

/// The first bytes of a packet of that length.
fn write_packet(out: &mut impl Write, nanoseconds: u64, packet: &[u8], length: usize) -> io::Result<()> {
    let captured = packet.len().min(LARGEST as usize);
    let seconds = nanoseconds / 1_000_000_000;
    let microseconds = nanoseconds % 1_000_000_000 / 1000;
    for word in [seconds as u32, microseconds as u32, captured as u32, length as u32] {
        out.write_all(&word.to_ne_bytes())?;
    }
    out.write_all(packet.get(..captured).unwrap_or_default())
}

/// The IP packet in captured bytes, behind which so many are missing, without an Ethernet header (and VLAN tags) in
/// front of it.
fn ip_packet(data: &[u8], missing: usize) -> Option<&[u8]> {
    // A hardware address may begin like an IP header; the checksum tells.
    match behind_ethernet(data) {
        Some(inner) if !checksum_holds(data) => Some(inner),
        _ => is_ip(data, missing).then_some(data),
    }
}

/// Whether an IP header is there, and no accident.
fn begins_surely(data: &[u8], missing: usize) -> bool {
    is_ip(data, missing) && (data.first().is_some_and(|b| b >> 4 == 6) || checksum_holds(data))
}

/// Whether an IP header is possible for a packet of that size. Where the network card or the kernel cuts and joins
/// packets, those of more than 64 KiB say 0.
fn is_ip(data: &[u8], missing: usize) -> bool {
    let half = |at: usize| data.get(at..)?.first_chunk().map(|b| usize::from(u16::from_be_bytes(*b)));
    let size = data.len().saturating_add(missing);
    let (head, said) = match data.first().map(|b| (b >> 4, usize::from(b & 15) * 4)) {
        Some((4, head)) => (head.max(20), half(2).filter(|_| head >= 20)),
        Some((6, _)) => (40, half(4).map(|payload| if payload == 0 { 0 } else { payload + 40 })),
        _ => return false,
    };
    // Behind the packet there may be padding.
    said.is_some_and(|said| (said == 0 || said >= head) && head.max(said) <= size)
}

fn behind_ethernet(data: &[u8]) -> Option<&[u8]> {
    let mut at = 12;
    loop {
        let kind = data.get(at..)?.first_chunk::<2>().map(|b| u16::from_be_bytes(*b))?;
        let rest = data.get(at + 2..)?;
        match (kind, rest.first().map(|b| b >> 4)) {
            (0x0800, Some(4)) | (0x86dd, Some(6)) => return Some(rest),
            // One or two VLAN tags.
            (0x8100 | 0x88a8, _) if at < 20 => at += 4,
            _ => return None,
        }
    }
}

/// Whether an IPv4 header sums up to what it should (RFC 791).
fn checksum_holds(data: &[u8]) -> bool {
    let length = data.first().map_or(0, |b| usize::from(b & 15) * 4);
    let Some(header) = data.get(..length).filter(|h| h.len() >= 20) else { return false };
    let sum: u32 =
        header.chunks_exact(2).filter_map(|c| c.first_chunk::<2>()).map(|c| u32::from(u16::from_be_bytes(*c))).sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP4: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0x40, 0, 0x40, 0x11, 0x7c, 0xd6, 127, 0, 0, 1, 127, 0, 0, 1];

    #[test]
    fn a_file_is_a_header_and_records() {
        let mut out = Vec::new();
        write_header(&mut out).unwrap();
        write_packet(&mut out, 1_500_000_123_456_789_000, &IP4, 228).unwrap();
        assert_eq!(out.len(), 24 + 16 + 20);
        let word = |at: usize| u32::from_ne_bytes(out[at..at + 4].try_into().unwrap());
        assert_eq!([word(0), word(20)], [MAGIC, RAW]);
        assert_eq!([word(24), word(28), word(32), word(36)], [1_500_000_123, 456_789, 20, 228]);
        assert_eq!(out[40..], IP4);
    }

    #[test]
    fn headers_that_were_taken_off_are_put_back() {
        let path = std::env::temp_dir().join(format!("rtrace-pcap-{}", std::process::id()));
        let name = path.to_str().unwrap();
        let packet = |before: &[u8], data: &[u8]| Packet {
            event: 0,
            time: 0,
            length: data.len(),
            data: data.to_vec(),
            before: before.to_vec(),
        };
        let mut long = IP4;
        // Four bytes more, and the checksum of that.
        (long[3], long[10], long[11]) = (24, 0x3c, 0xd3);
        let mut captures = Captures::default();
        captures.append(name, 0, &packet(&long, &[1, 2, 3, 4])).unwrap();
        // What lies before a whole packet, where nobody has set the network header, is no part of it.
        captures.append(name, 0, &packet(&[0; 64], &IP4)).unwrap();
        captures.append(name, 0, &packet(&[0x45; 64], &[1, 2, 3, 4])).unwrap();
        captures.flush().unwrap();
        let file = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file[40..64], [&long[..], &[1, 2, 3, 4]].concat());
        assert_eq!(file[80..], IP4);
        assert_eq!(captures.skipped, 1);
    }

    #[test]
    fn ethernet_in_front_is_left_out() {
        let with = |head: &[u8]| [head, &IP4].concat();
        let plain = with(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        let tagged = with(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 5, 8, 0]);
        // A destination address that begins like an IPv4 header.
        let tricky = with(&[0x45, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        for frame in [plain, tagged, tricky, IP4.to_vec()] {
            assert_eq!(ip_packet(&frame, 0), Some(&IP4[..]));
        }
    }

    #[test]
    fn what_is_not_ip_is_no_packet() {
        let arp = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0];
        assert_eq!(ip_packet(&arp, 0), None);
        assert_eq!(ip_packet(&[], 0), None);
        // Hardware addresses that begin like an IP header.
        let mut other = [0u8; 64];
        other[..16].copy_from_slice(&[0x45, 0x12, 0x34, 0x56, 0x78, 0x9a, 2, 0, 0, 0, 0, 2, 0x88, 0xcc, 2, 7]);
        assert_eq!(ip_packet(&other, 0), None);
        other[..6].copy_from_slice(&[0x62, 0, 0, 0, 0x12, 0x34]);
        assert_eq!(ip_packet(&other, 0), None);
        // A header of less than 20 bytes, a length of less than the header.
        assert_eq!(ip_packet(&[&[0x44], &IP4[1..]].concat(), 0), None);
        assert_eq!(ip_packet(&[&[0x45, 0, 0, 19], &IP4[4..]].concat(), 0), None);
    }

    #[test]
    fn the_size_that_a_header_says_counts_with_what_is_missing() {
        let long = [&[0x45, 0, 0, 60], &IP4[4..]].concat();
        assert_eq!(ip_packet(&long, 39), None);
        assert_eq!(ip_packet(&long, 40), Some(&long[..]));
        let mut six = [0u8; 40];
        six[0] = 0x60;
        assert_eq!(ip_packet(&six, 0), Some(&six[..]));
        six[5] = 8;
        assert_eq!(ip_packet(&six, 7), None);
        assert_eq!(ip_packet(&six, 8), Some(&six[..]));
        // Joined by the kernel, larger than the field can say.
        assert!(ip_packet(&[&[0x45, 0, 0, 0], &IP4[4..]].concat(), 70_000).is_some());
    }
}
