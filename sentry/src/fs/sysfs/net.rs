//! /sys/class/net: the sandbox's own interfaces.

use crate::fs::fixed::Tree;
use crate::kernel::Kernel;
use arch::Errno;
use std::sync::Arc;

pub(super) fn fill(tree: &mut Tree, kernel: &Arc<Kernel>) {
    for interface in kernel.net.interfaces.all() {
        let name = interface.name;
        let dir = format!("devices/virtual/net/{name}");
        let mut put = |file: &str, text: String| tree.text(&format!("{dir}/{file}"), text);
        put("addr_assign_type", "0".into());
        put("addr_len", "6".into());
        put("address", "00:00:00:00:00:00".into());
        put("broadcast", "00:00:00:00:00:00".into());
        put("carrier", "1".into());
        put("dev_id", "0x0".into());
        put("dev_port", "0".into());
        put("dormant", "0".into());
        put(
            "flags",
            format!("{:#x}", interface.flags & 0xffff & !RUNNING),
        );
        put("ifalias", String::new());
        put("ifindex", interface.index.to_string());
        put("iflink", interface.index.to_string());
        put("link_mode", "0".into());
        put("mtu", interface.mtu.to_string());
        put("netdev_group", "0".into());
        put("operstate", "unknown".into());
        put("tx_queue_len", "1000".into());
        put("type", interface.hardware.to_string());
        put(
            "uevent",
            format!("INTERFACE={name}\nIFINDEX={}", interface.index),
        );
        // An interface without a link has neither.
        for file in ["speed", "duplex"] {
            tree.tried(&format!("{dir}/{file}"), |_| Err(Errno::EINVAL));
        }
        for file in STATISTICS {
            tree.made(&format!("{dir}/statistics/{file}"), |kernel| {
                let stats = &kernel.net.stats;
                let n = match *file {
                    "rx_bytes" | "tx_bytes" => stats.lo_bytes.get(),
                    "rx_packets" | "tx_packets" => stats.lo_packets.get(),
                    _ => 0,
                };
                format!("{n}\n")
            });
        }
        tree.dir(&format!("{dir}/queues/rx-0"));
        tree.dir(&format!("{dir}/queues/tx-0"));
        tree.link(&format!("{dir}/subsystem"), "../../../../class/net");
        tree.link(
            &format!("class/net/{name}"),
            format!("../../devices/virtual/net/{name}"),
        );
    }
}

/// IFF_RUNNING is worked out at each look and is not among the stored flags.
const RUNNING: u32 = libc::IFF_RUNNING as u32;

const STATISTICS: &[&str] = &[
    "collisions",
    "multicast",
    "rx_bytes",
    "rx_compressed",
    "rx_crc_errors",
    "rx_dropped",
    "rx_errors",
    "rx_fifo_errors",
    "rx_frame_errors",
    "rx_length_errors",
    "rx_missed_errors",
    "rx_nohandler",
    "rx_over_errors",
    "rx_packets",
    "tx_aborted_errors",
    "tx_bytes",
    "tx_carrier_errors",
    "tx_compressed",
    "tx_dropped",
    "tx_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_packets",
    "tx_window_errors",
];
