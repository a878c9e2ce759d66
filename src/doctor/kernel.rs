//! What the kernel says: limits, and the queues of the sockets that listen (sock_diag(7)).
//!
//! Promises: needs no privilege; bounded in time.
//! Must not know: which sockets matter.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::net::netlink::SOCK_DIAG;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use super::Backlog;

const PATIENCE: Duration = Duration::from_secs(5);
const LISTEN: u32 = 10;
/// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST | NLM_F_DUMP`, `NLMSG_ERROR`, `NLMSG_DONE`.
const BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The longest queue of newcomers that the kernel allows.
pub fn somaxconn() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

/// The soft limit of open files of a process.
pub fn open_files(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// All TCP sockets of this network namespace that listen.
pub fn listening() -> io::Result<Vec<(SocketAddr, Backlog)>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut found = vec![];
    for family in [libc::AF_INET, libc::AF_INET6] {
        send(&socket, &request(family), SendFlags::empty())?;
        let mut answer = vec![0; 64 * 1024];
        loop {
            let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
            if !messages(&answer[..length], &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`: TCP in the state LISTEN, of any address.
fn request(family: i32) -> Vec<u8> {
    let mut bytes = vec![];
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend((1_u32 << LISTEN).to_ne_bytes());
    bytes.resize(72, 0);
    bytes
}

/// Whether there are more to come.
fn messages(mut bytes: &[u8], found: &mut Vec<(SocketAddr, Backlog)>) -> io::Result<bool> {
    while let Some((length, kind)) = header(bytes) {
        let message = bytes.get(16..length).ok_or(io::ErrorKind::InvalidData)?;
        match kind {
            DONE => return Ok(false),
            ERROR => {
                let code =
                    message.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => found.extend(listener(message)),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn header(bytes: &[u8]) -> Option<(usize, u16)> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    (length >= 16).then_some((length as usize, kind))
}

/// `struct inet_diag_msg`: of a socket that listens, `idiag_wqueue` is the length of its queue.
fn listener(message: &[u8]) -> Option<(SocketAddr, Backlog)> {
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let address: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    let ip = match i32::from(*message.first()?) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&address[..4]).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(address)),
    };
    let most = u32::from_ne_bytes(message.get(60..64)?.try_into().ok()?);
    let address = SocketAddr::new(ip, port);
    Some((address, Backlog { address: address.to_string(), most }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_of_a_listening_socket_is_what_it_was_opened_with() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let any: SocketAddr = any.parse().unwrap();
            let domain = socket2::Domain::for_address(any);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
            socket.bind(&any.into()).unwrap();
            socket.listen(77).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            let found = listening().unwrap();
            let backlog = found.iter().find(|(found, _)| *found == address).map(|(_, backlog)| backlog);
            assert_eq!(backlog, Some(&Backlog { address: address.to_string(), most: 77 }));
        }
    }

    #[test]
    fn a_message_that_is_cut_short_is_an_error_or_nothing() {
        let mut found = vec![];
        assert!(messages(&[9, 0], &mut found).unwrap());
        assert!(messages(&request(libc::AF_INET)[..40], &mut found).is_err());
        assert!(found.is_empty());
    }

    #[test]
    fn limits_are_read() {
        assert!(somaxconn().unwrap() > 0);
        assert_eq!(
            open_files(std::process::id()),
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current
        );
        assert_eq!(open_files(u32::MAX), None);
    }
}
