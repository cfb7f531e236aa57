//! The number of a lock's name, for servers whose locks have short names or none.

/// FNV-1a in 64 bits: the same for every version and build of weir.
pub(crate) fn lock_key(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_always_the_same_number() {
        assert_eq!(lock_key(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(lock_key("a"), 0xaf63_dc4c_8601_ec8c);
        assert_ne!(lock_key("weir:sql_query/x"), lock_key("weir:sql_query/y"));
    }
}
