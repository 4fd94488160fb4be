//! Moves interfaces of the host into a container's network namespace, with what administrators gave
//! them: name, MTU and hardware address stay theirs, permanent global addresses are given anew, as
//! the kernel takes all addresses away; config-linux "Network Devices".

mod netlink;

use crate::error::{At, Error, ErrorKind, Result};
use crate::plan::netdevices::NetDevicePlan;
use netlink::{
    Body, CREATE, Netlink, RTM_GETADDR, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK, attribute, number,
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// `struct ifinfomsg`.
const LINK: usize = 16;
/// `struct ifaddrmsg`.
const ADDRESS: usize = 8;

/// The two ends of a move.
struct Ends {
    host: Netlink,
    inside: Netlink,
    host_namespace: OwnedFd,
    namespace: OwnedFd,
}

/// Moves them all. Where one fails, those that are moved already go back.
///
/// # Errors
/// Which interface, and what the kernel says.
pub(crate) fn attach(devices: &[NetDevicePlan], namespace: OwnedFd) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = "/proc/thread-self/ns/net";
    let ends = Ends {
        host: Netlink::open().at("talk to", "the network of the host")?,
        inside: inside(&namespace)?,
        host_namespace: openat(CWD, own, flags, Mode::empty()).at("open", own)?,
        namespace,
    };
    let mut moved: Vec<(u32, &str)> = Vec::new();
    for device in devices {
        if let Err(error) = ends.attach(device, &mut moved) {
            for (index, name) in moved.into_iter().rev() {
                // The error that led here is the one that is told.
                ends.give_back(index, name).unwrap_or_default();
            }
            return Err(error);
        }
    }
    Ok(())
}

/// A socket of another namespace is made by a thread that goes there and ends: the caller's own
/// threads stay where they are.
fn inside(namespace: &OwnedFd) -> Result<Netlink> {
    let open = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Netlink::open()
    };
    let talk = || {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, open);
            let thread =
                thread.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
            thread.join().unwrap_or(Err(Errno::IO))
        })
    };
    talk().at("talk to", "the network of the container")
}

impl Ends {
    fn attach<'a>(&self, device: &'a NetDevicePlan, moved: &mut Vec<(u32, &'a str)>) -> Result<()> {
        let NetDevicePlan { name, new_name } = device;
        let index = find(&self.host, name)?;
        // Before it is down: then the kernel forgets those of IPv6.
        let addresses = addresses(&self.host, index).at("get the addresses of", name)?;
        let before = indexes(&self.inside).at("list", "network devices")?;
        self.host
            .change(RTM_NEWLINK, 0, &Body::link(index, 0, IFF_UP))
            .at("set down network device", name)?;
        let sent = self.host.change(
            RTM_NEWLINK,
            0,
            &Body::link(index, 0, 0)
                .with(IFLA_NET_NS_FD, &self.namespace.as_raw_fd().to_ne_bytes())
                .with(IFLA_IFNAME, &terminated(new_name)),
        );
        // The kernel moves first and renames then: a name that is taken is found out inside.
        let now = indexes(&self.inside).at("list", "network devices")?;
        let new_index = now.difference(&before).next().copied();
        if let Some(new_index) = new_index {
            moved.push((new_index, name));
        } else if sent.is_err() {
            // It is where it was, and was up for all we know.
            self.host
                .change(RTM_NEWLINK, 0, &Body::link(index, IFF_UP, IFF_UP))
                .unwrap_or_default();
        }
        sent.map_err(|errno| not_moved(device, errno))?;
        let new_index = new_index.ok_or_else(|| not_moved(device, Errno::NODEV))?;
        for address in addresses {
            self.inside
                .change(RTM_NEWADDR, CREATE, &address.body(new_index))
                .at("set up address on network device", new_name)?;
        }
        self.inside
            .change(RTM_NEWLINK, 0, &Body::link(new_index, IFF_UP, IFF_UP))
            .at("set up network device", new_name)
    }

    fn give_back(&self, index: u32, name: &str) -> rustix::io::Result<()> {
        let fd = self.host_namespace.as_raw_fd().to_ne_bytes();
        self.inside
            .change(RTM_NEWLINK, 0, &Body::link(index, 0, IFF_UP))?;
        let body = Body::link(index, 0, 0)
            .with(IFLA_NET_NS_FD, &fd)
            .with(IFLA_IFNAME, &terminated(name));
        self.inside.change(RTM_NEWLINK, 0, &body)
    }
}

fn not_moved(device: &NetDevicePlan, errno: Errno) -> Error {
    let NetDevicePlan { name, new_name } = device;
    let error = Error::from_errno(errno.raw_os_error(), "move network device", name.clone());
    match errno {
        Errno::EXIST => error
            .with_kind(ErrorKind::InvalidSpec)
            .because(format!(
                "file exists (EEXIST): the container has a {new_name:?} already"
            ))
            .with_hint("a name with %d lets the kernel pick a free number"),
        _ => error.with_kind(ErrorKind::System),
    }
}

fn terminated(name: &str) -> Vec<u8> {
    CString::new(name).unwrap_or_default().into_bytes_with_nul()
}

fn find(netlink: &Netlink, name: &str) -> Result<u32> {
    let wanted = terminated(name);
    let links = netlink
        .list(RTM_GETLINK, &Body::link(0, 0, 0))
        .at("list", "network devices")?;
    let found = links
        .iter()
        .find(|link| attribute(link, LINK, IFLA_IFNAME) == Some(&wanted[..]));
    found.and_then(|link| number(link, 4)).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidSpec,
            "move network device",
            name.to_owned(),
        )
        .because("Link not found: the host has no such device (linux.netDevices)")
    })
}

fn indexes(netlink: &Netlink) -> rustix::io::Result<BTreeSet<u32>> {
    let links = netlink.list(RTM_GETLINK, &Body::link(0, 0, 0))?;
    let mut indexes = BTreeSet::new();
    indexes.extend(links.iter().filter_map(|link| number(link, 4)));
    Ok(indexes)
}

/// An address that moves along.
struct Address {
    family: u8,
    prefix: u8,
    local: Option<Vec<u8>>,
    peer: Option<Vec<u8>>,
    broadcast: Option<Vec<u8>>,
}

impl Address {
    /// Those that were configured, and mean the same anywhere: what a router or the kernel gave, and
    /// what holds on one link or host only, stays behind.
    fn read(message: &[u8], index: u32) -> Option<Address> {
        const RT_SCOPE_UNIVERSE: u8 = 0;
        let [family, prefix, flags, scope, ..] = *message else {
            return None;
        };
        let flags = attribute(message, ADDRESS, IFA_FLAGS)
            .and_then(|flags| number(flags, 0))
            .unwrap_or(flags.into());
        let value = |kind| attribute(message, ADDRESS, kind).map(<[u8]>::to_vec);
        let goes = number(message, 4) == Some(index)
            && scope == RT_SCOPE_UNIVERSE
            && flags & IFA_F_PERMANENT != 0;
        goes.then(|| Address {
            family,
            prefix,
            local: value(IFA_LOCAL),
            peer: value(IFA_ADDRESS),
            broadcast: value(IFA_BROADCAST),
        })
    }

    fn body(&self, index: u32) -> Body {
        let parts = [
            (IFA_LOCAL, &self.local),
            (IFA_ADDRESS, &self.peer),
            (IFA_BROADCAST, &self.broadcast),
        ];
        let body = Body::address(self.family, self.prefix, index);
        parts
            .into_iter()
            .fold(body, |body, (kind, value)| match value {
                Some(value) => body.with(kind, value),
                None => body,
            })
    }
}

fn addresses(netlink: &Netlink, index: u32) -> rustix::io::Result<Vec<Address>> {
    let all = netlink.list(RTM_GETADDR, &Body::address(0, 0, 0))?;
    Ok(all
        .iter()
        .filter_map(|message| Address::read(message, index))
        .collect())
}
