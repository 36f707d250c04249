//! Tells a service manager how far a run is: the datagrams of sd_notify(3), to the socket that `NOTIFY_SOCKET` names.
//! Without the variable nothing is sent, and a manager that cannot be reached is not a failure of the run.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// That many probes are attached.
pub fn ready(probes: usize) {
    send(&format!("READY=1\nSTATUS={probes} probes attached"));
}

/// The run has come to its end; what is left is to print.
pub fn stopping() {
    send("STOPPING=1");
}

fn send(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes() {
        // An abstract name.
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        path => SocketAddr::from_pathname(OsStr::from_bytes(path)),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(state.as_bytes(), &address);
    }
}
