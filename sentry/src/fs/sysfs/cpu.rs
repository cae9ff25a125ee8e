//! /sys/devices/system/cpu and /sys/devices/system/node: the CPUs of the sandbox, numbered as on the host.

use super::memory::no_huge_pages;
use crate::fs::fixed::{Tree, cpu_list, cpu_mask};
use crate::kernel::Kernel;
use std::collections::BTreeMap;
use std::sync::Arc;

const CPU: &str = "devices/system/cpu";
const NODE: &str = "devices/system/node";

/// Where a CPU lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    package: usize,
    core: usize,
}

/// The places that a /proc/cpuinfo tells; a CPU that it says nothing of is a core of its own.
fn places(cpuinfo: &str, cpus: &[usize]) -> BTreeMap<usize, Place> {
    let mut out: BTreeMap<usize, Place> = cpus
        .iter()
        .map(|&cpu| {
            let core = cpu;
            (cpu, Place { package: 0, core })
        })
        .collect();
    let mut at = None;
    for line in cpuinfo.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let value: Option<usize> = value.trim().parse().ok();
        match (name.trim(), value) {
            ("processor", n) => at = n,
            ("physical id", Some(n)) => {
                if let Some(place) = at.and_then(|c| out.get_mut(&c)) {
                    place.package = n;
                }
            }
            ("core id", Some(n)) => {
                if let Some(place) = at.and_then(|c| out.get_mut(&c)) {
                    place.core = n;
                }
            }
            _ => {}
        }
    }
    out
}

/// A cache as the CPU describes it (CPUID leaf 4, or 0x8000001d).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cache {
    level: u32,
    kind: &'static str,
    line: u32,
    partitions: u32,
    ways: u32,
    sets: u32,
    /// Hardware threads that share it, at most.
    threads: u32,
}

impl Cache {
    fn from_leaf(eax: u32, ebx: u32, ecx: u32) -> Option<Self> {
        let kind = match eax & 0x1f {
            1 => "Data",
            2 => "Instruction",
            3 => "Unified",
            _ => return None,
        };
        Some(Self {
            level: (eax >> 5) & 7,
            kind,
            line: (ebx & 0xfff) + 1,
            partitions: ((ebx >> 12) & 0x3ff) + 1,
            ways: (ebx >> 22) + 1,
            sets: ecx.saturating_add(1),
            threads: ((eax >> 14) & 0xfff) + 1,
        })
    }

    fn kib(self) -> u64 {
        u64::from(self.line)
            * u64::from(self.partitions)
            * u64::from(self.ways)
            * u64::from(self.sets)
            / 1024
    }
}

#[cfg(target_arch = "x86_64")]
fn caches() -> Vec<Cache> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    /// CPUID leaf 0x80000001, ECX: the leaf of AMD's caches is there.
    const TOPOEXT: u32 = 1 << 22;
    let amd = __cpuid(0x8000_0000).eax >= 0x8000_001d && __cpuid(0x8000_0001).ecx & TOPOEXT != 0;
    let leaf = match (amd, __cpuid(0).eax >= 4) {
        (true, _) => 0x8000_001d,
        (false, true) => 4,
        (false, false) => return Vec::new(),
    };
    (0..16)
        .map_while(|n| {
            let r = __cpuid_count(leaf, n);
            Cache::from_leaf(r.eax, r.ebx, r.ecx)
        })
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn caches() -> Vec<Cache> {
    Vec::new()
}

/// Which CPUs of `all` share `cache` with `cpu`: itself, its core, or its package, as many as the cache is made for.
fn sharers(cache: Cache, cpu: usize, all: &BTreeMap<usize, Place>) -> Vec<usize> {
    let here = all.get(&cpu).copied().unwrap_or_default();
    let package: Vec<usize> = with(all, |p| p.package == here.package);
    let core: Vec<usize> = with(all, |p| *p == here);
    let threads = usize::try_from(cache.threads).unwrap_or(1);
    if threads <= 1 {
        vec![cpu]
    } else if threads <= core.len() || cache.level < 3 {
        core
    } else {
        package
    }
}

fn with(all: &BTreeMap<usize, Place>, is: impl Fn(&Place) -> bool) -> Vec<usize> {
    all.iter().filter(|(_, p)| is(p)).map(|(n, _)| *n).collect()
}

pub(super) fn fill(tree: &mut Tree, kernel: &Arc<Kernel>) {
    let mask = kernel.cpus.mask();
    let count = kernel.cpus.count();
    let cpus: Vec<usize> = (0..mask.len() * 8)
        .filter(|n| mask[n / 8] & (1 << (n % 8)) != 0)
        .collect();
    let list = cpu_list(&cpus);
    let possible: Vec<usize> = (0..count).collect();
    let absent: Vec<usize> = possible
        .iter()
        .copied()
        .filter(|n| !cpus.contains(n))
        .collect();
    for (name, text) in [
        ("online", list.clone()),
        ("present", list.clone()),
        ("enabled", list.clone()),
        ("possible", cpu_list(&possible)),
        ("offline", cpu_list(&absent)),
        ("isolated", String::new()),
        ("kernel_max", count.saturating_sub(1).to_string()),
        ("smt/control", "notsupported".into()),
    ] {
        tree.text(&format!("{CPU}/{name}"), text);
    }
    let cpuinfo = crate::fs::proc::system::host_cpuinfo(kernel);
    let all = places(&cpuinfo, &cpus);
    let smt = all
        .iter()
        .any(|(cpu, place)| all.iter().any(|(other, at)| other != cpu && at == place));
    tree.text(&format!("{CPU}/smt/active"), u8::from(smt).to_string());
    let caches = caches();
    for (&cpu, place) in &all {
        one(tree, cpu, *place, &all, count);
        cache_files(tree, cpu, &caches, &all, count);
    }
    for name in [
        "online",
        "possible",
        "has_cpu",
        "has_memory",
        "has_normal_memory",
    ] {
        tree.text(&format!("{NODE}/{name}"), "0");
    }
    tree.text(&format!("{NODE}/node0/cpulist"), list);
    tree.text(&format!("{NODE}/node0/cpumap"), cpu_mask(&cpus, count));
    tree.text(&format!("{NODE}/node0/distance"), "10");
    tree.made(&format!("{NODE}/node0/meminfo"), |_| {
        let host = crate::host::sys::sysinfo();
        let kib = |n: u64| n * u64::from(host.mem_unit) / 1024;
        let (total, free) = (kib(host.totalram), kib(host.freeram));
        let mut out = String::new();
        for (name, n) in [
            ("MemTotal:", total),
            ("MemFree:", free),
            ("MemUsed:", total.saturating_sub(free)),
        ] {
            out.push_str(&format!("Node 0 {name:<15} {n:>8} kB\n"));
        }
        out
    });
    no_huge_pages(tree, &format!("{NODE}/node0/hugepages"));
}

fn one(tree: &mut Tree, cpu: usize, place: Place, all: &BTreeMap<usize, Place>, count: usize) {
    let dir = format!("{CPU}/cpu{cpu}");
    if cpu > 0 {
        tree.text(&format!("{dir}/online"), "1");
    }
    let package = with(all, |p| p.package == place.package);
    let core = with(all, |p| *p == place);
    let mut put = |name: &str, text: String| tree.text(&format!("{dir}/topology/{name}"), text);
    put("physical_package_id", place.package.to_string());
    put("core_id", place.core.to_string());
    put("die_id", "0".into());
    for (name, cpus) in [
        ("core_cpus", &core),
        ("thread_siblings", &core),
        ("core_siblings", &package),
        ("package_cpus", &package),
        ("die_cpus", &package),
    ] {
        put(name, cpu_mask(cpus, count));
        put(&format!("{name}_list"), cpu_list(cpus));
    }
    tree.link(&format!("{dir}/node0"), "../../node/node0");
    tree.link(
        &format!("{NODE}/node0/cpu{cpu}"),
        format!("../../cpu/cpu{cpu}"),
    );
}

fn cache_files(
    tree: &mut Tree,
    cpu: usize,
    caches: &[Cache],
    all: &BTreeMap<usize, Place>,
    count: usize,
) {
    for (n, cache) in caches.iter().enumerate() {
        let shared = sharers(*cache, cpu, all);
        let dir = format!("{CPU}/cpu{cpu}/cache/index{n}");
        for (name, text) in [
            ("level", cache.level.to_string()),
            ("type", cache.kind.into()),
            ("size", format!("{}K", cache.kib())),
            ("coherency_line_size", cache.line.to_string()),
            ("physical_line_partition", cache.partitions.to_string()),
            ("ways_of_associativity", cache.ways.to_string()),
            ("number_of_sets", cache.sets.to_string()),
            ("shared_cpu_list", cpu_list(&shared)),
            ("shared_cpu_map", cpu_mask(&shared, count)),
        ] {
            tree.text(&format!("{dir}/{name}"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "processor\t: 0\nphysical id\t: 0\ncore id\t: 0\n\nprocessor\t: 1\nphysical id\t: 0\ncore id\t: 0\n\nprocessor\t: 2\nphysical id\t: 1\ncore id\t: 4\n\n";

    #[test]
    fn places_come_from_cpuinfo() {
        let all = places(INFO, &[0, 1, 2, 3]);
        let at = |package, core| Place { package, core };
        assert_eq!(
            all.into_values().collect::<Vec<_>>(),
            [at(0, 0), at(0, 0), at(1, 4), at(0, 3)]
        );
    }

    #[test]
    fn a_cache_is_decoded_and_shared() {
        // A 32 KiB first-level data cache for two threads.
        let cache = Cache::from_leaf(0x1c00_4121, 0x01c0_003f, 0x3f);
        let cache = cache.expect("a cache");
        assert_eq!(
            (cache.level, cache.kind, cache.kib(), cache.threads),
            (1, "Data", 32, 2)
        );
        let all = places(INFO, &[0, 1, 2]);
        assert_eq!(sharers(cache, 0, &all), [0, 1]);
        assert_eq!(sharers(cache, 2, &all), [2]);
        let last = Cache {
            level: 3,
            threads: 64,
            ..cache
        };
        assert_eq!(sharers(last, 0, &all), [0, 1]);
        assert_eq!(Cache::from_leaf(0, 0, 0), None);
    }
}
