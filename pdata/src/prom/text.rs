//! Escaped text and numbers.

/// How numbers are written in `le` and `quantile` labels, where their text is part of the series' identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// Text 0.0.4: Go's `%g` with the fewest digits: `1`, `0.25`, `1e+06`.
    Text,
    /// OpenMetrics: the same with `.0` after whole numbers: `1.0`, `0.25`, `1e+06`.
    OpenMetrics,
}

/// Adds text as it stands between the quotes of a label value: backslash, double quote and line feed are escaped.
pub fn push_escaped(out: &mut String, text: &str) {
    push_with(out, text, |byte| matches!(byte, b'\\' | b'"' | b'\n'));
}

/// Adds text as it stands after `# HELP name `. OpenMetrics escapes double quotes too, text 0.0.4 does not.
pub fn push_help(out: &mut String, text: &str, quotes: bool) {
    push_with(out, text, |byte| matches!(byte, b'\\' | b'\n') || (quotes && byte == b'"'));
}

fn push_with(out: &mut String, text: &str, special: impl Fn(u8) -> bool) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(&special) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// Adds a sample's value: the shortest digits that read back as the same double, `NaN`, `+Inf` or `-Inf`.
pub fn push_float(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        // Whole numbers are written as such: `3`, as every other exporter does.
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    } else {
        out.extend_from_slice(if value.is_nan() {
            b"NaN"
        } else if value > 0.0 {
            b"+Inf"
        } else {
            b"-Inf"
        });
    }
}

/// The text of a bound or quantile in a label.
#[must_use]
pub fn float_label(value: f64, style: Number) -> String {
    if !value.is_finite() {
        let mut out = Vec::with_capacity(4);
        push_float(&mut out, value);
        return String::from_utf8_lossy(&out).into_owned();
    }
    let mut text = go_float(value);
    if style == Number::OpenMetrics && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

/// Go's `strconv.FormatFloat(value, 'g', -1, 64)`: exponent form below 1e-4 and from 1e6 on, with two exponent digits at least.
fn go_float(value: f64) -> String {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value);
    let (sign, shortest) = shortest.strip_prefix('-').map_or(("", shortest), |rest| ("-", rest));
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0');
    if digits.is_empty() {
        return format!("{sign}0");
    }
    let exponent: i32 = exponent.parse().unwrap_or_default();
    // The power of ten of the first digit.
    let power = exponent + whole.len() as i32 - leading as i32 - 1;
    format!("{sign}{}", lay_out(digits, power))
}

fn lay_out(digits: &str, power: i32) -> String {
    if !(-4..6).contains(&power) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{first}{point}{rest}e{sign}{:02}", power.unsigned_abs());
    }
    if power < 0 {
        return format!("0.{}{digits}", "0".repeat(power.unsigned_abs() as usize - 1));
    }
    let whole = power as usize + 1;
    if digits.len() <= whole {
        format!("{digits}{}", "0".repeat(whole - digits.len()))
    } else {
        format!("{}.{}", &digits[..whole], &digits[whole..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_written_as_go_writes_them() {
        for (value, text, open) in [
            (0.0, "0", "0.0"),
            (1.0, "1", "1.0"),
            (0.25, "0.25", "0.25"),
            (100_000.0, "100000", "100000.0"),
            (1e6, "1e+06", "1e+06"),
            (123_456_789.0, "1.23456789e+08", "1.23456789e+08"),
            (123_456.5, "123456.5", "123456.5"),
            (1e20, "1e+20", "1e+20"),
            (1e100, "1e+100", "1e+100"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "1e-05"),
            (5e-324, "5e-324", "5e-324"),
            (-2.5, "-2.5", "-2.5"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ] {
            assert_eq!(float_label(value, Number::Text), text);
            assert_eq!(float_label(value, Number::OpenMetrics), open);
        }
    }

    #[test]
    fn label_values_escape_three_characters_and_help_two_or_three() {
        let mut out = String::new();
        push_escaped(&mut out, "a\"b\\c\nd\r");
        assert_eq!(out, "a\\\"b\\\\c\\nd\r");
        for (quotes, expected) in [(false, "\"\\\\\\n"), (true, "\\\"\\\\\\n")] {
            let mut out = String::new();
            push_help(&mut out, "\"\\\n", quotes);
            assert_eq!(out, expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_bound_reads_back_as_the_same_double(bits: u64) {
            let value = f64::from_bits(bits);
            proptest::prop_assume!(value.is_finite());
            for style in [Number::Text, Number::OpenMetrics] {
                proptest::prop_assert_eq!(float_label(value, style).parse::<f64>().unwrap(), value);
            }
        }
    }
}
