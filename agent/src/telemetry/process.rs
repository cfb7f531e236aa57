//! What the kernel says of this process. Read only when somebody asks.

/// CPU time of all threads, user and system, in seconds; none where there is no `/proc`.
pub(crate) fn cpu_seconds() -> Option<f64> {
    parse_cpu(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Resident memory in bytes; none where there is no `/proc`.
pub(crate) fn resident_bytes() -> Option<u64> {
    parse_resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Clock ticks a second in `/proc/self/stat`: USER_HZ, which is 100 on every Linux that weir is built for.
const TICKS: f64 = 100.0;

fn parse_cpu(stat: &str) -> Option<f64> {
    // The second field is the program's name in brackets and may hold anything; proc(5) counts utime as 14 and stime as 15.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim_end().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_does_not_shift_the_fields() {
        let stat = "42 (we) ir) S 1 42 42 0 -1 4194304 500 0 0 0 150 50 0 0 20 0 3 0 100 1 1";
        assert_eq!(parse_cpu(stat), Some(2.0));
    }

    #[test]
    fn resident_memory_is_given_in_bytes() {
        assert_eq!(parse_resident("VmPeak:\t 9 kB\nVmRSS:\t    8192 kB\n"), Some(8 << 20));
    }
}
