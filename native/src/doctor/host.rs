//! Memory, disk, processor, display.

use super::item::Item;
use crate::text;

/// Below this much memory, models of a billion parameters do not load.
const LITTLE_MEMORY: u64 = 2 << 30;
/// Below this much disk, traces that open every layer may not fit.
const LITTLE_DISK: u64 = 1 << 30;

/// Looks.
pub fn look() -> Vec<Item> {
    vec![processor(), memory(), disk(), display()]
}

fn processor() -> Item {
    match std::thread::available_parallelism() {
        Ok(threads) => Item::ok("processor", text::count(threads.get() as u64, "thread")),
        Err(_) => Item::unknown(
            "processor",
            "the system does not say how many threads it has",
        ),
    }
}

fn memory() -> Item {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match (kib(&meminfo, "MemAvailable:"), kib(&meminfo, "MemTotal:")) {
        (Some(free), Some(total)) => {
            let detail = format!("{} of {} available", text::bytes(free), text::bytes(total));
            if free < LITTLE_MEMORY {
                Item::warning(
                    "memory",
                    detail,
                    "close other programs before you load a large model",
                )
            } else {
                Item::ok("memory", detail)
            }
        }
        _ => Item::unknown("memory", "this system is not asked for it"),
    }
}

/// A line of /proc/meminfo, in bytes.
fn kib(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(unix)]
fn disk() -> Item {
    let Ok(facts) = rustix::fs::statvfs(".") else {
        return Item::unknown("disk", "the system does not say how much is free");
    };
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    let detail = format!("{} free in this folder", text::bytes(free));
    if free < LITTLE_DISK {
        Item::warning(
            "disk",
            detail,
            "free some, or write traces elsewhere: --trace PATH",
        )
    } else {
        Item::ok("disk", detail)
    }
}

#[cfg(not(unix))]
fn disk() -> Item {
    Item::unknown("disk", "this system is not asked for it")
}

fn display() -> Item {
    if crate::commands::window::has_display() {
        Item::ok("display", "the window can be opened: `assay` alone")
    } else {
        Item::unknown("display", "none, so no window; everything else works")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kib() {
        let meminfo = "MemTotal:       24689764 kB\nMemAvailable:        12 kB\nOdd: x kB\n";
        assert_eq!(kib(meminfo, "MemTotal:"), Some(24_689_764 * 1024));
        assert_eq!(kib(meminfo, "MemAvailable:"), Some(12 * 1024));
        assert_eq!(kib(meminfo, "Odd:"), None);
        assert_eq!(kib(meminfo, "None:"), None);
        assert_eq!(kib("MemTotal: 18446744073709551615 kB", "MemTotal:"), None);
    }
}
