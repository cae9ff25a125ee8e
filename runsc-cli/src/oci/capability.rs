//! Capability names to numbers (linux/capability.h).

use oci_spec::runtime::{Capability, LinuxCapabilities};
use sentry::config::Capabilities;

/// Names by number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

fn bits(set: &Option<oci_spec::runtime::Capabilities>) -> u64 {
    set.iter().flatten().map(bit).fold(0, |all, bit| all | bit)
}

fn bit(capability: &Capability) -> u64 {
    let name = capability.to_string();
    NAMES.iter().position(|n| *n == name).map_or(0, |n| 1 << n)
}

/// The sets of `process.capabilities`; none at all where it is absent.
pub fn convert(caps: Option<&LinuxCapabilities>) -> Capabilities {
    let Some(caps) = caps else {
        return Capabilities::default();
    };
    Capabilities {
        bounding: bits(caps.bounding()),
        effective: bits(caps.effective()),
        inheritable: bits(caps.inheritable()),
        permitted: bits(caps.permitted()),
        ambient: bits(caps.ambient()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_of_the_specification_has_a_number() {
        for (number, name) in NAMES.iter().enumerate() {
            let capability: Capability =
                serde_json::from_value(format!("CAP_{name}").into()).unwrap();
            assert_eq!(bit(&capability), 1 << number, "{name}");
        }
    }
}
