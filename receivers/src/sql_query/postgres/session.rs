//! What `session` sets, so that it ends with its transaction.

/// A setting that would outlive its transaction is made one that does not.
pub(super) fn local(statement: &str) -> String {
    let statement = statement.trim().trim_end_matches(';');
    match statement.split_once(char::is_whitespace) {
        Some((set, rest)) if set.eq_ignore_ascii_case("set") => {
            let (scope, after) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest, ""));
            let rest = match scope {
                scope if scope.eq_ignore_ascii_case("local") => after,
                scope
                    if scope.eq_ignore_ascii_case("session")
                        && !after.trim_start().to_ascii_lowercase().starts_with("auth") =>
                {
                    after
                }
                _ => rest,
            };
            format!("SET LOCAL {}", rest.trim_start())
        }
        _ => statement.to_owned(),
    }
}

/// A statement with parameters in place of `$1`, …, which `SET` cannot bind; `None` when there are not as many.
pub(super) fn filled(statement: &str, parameters: &[Option<Box<str>>]) -> Option<String> {
    let mut sql = String::with_capacity(statement.len());
    let mut rest = statement;
    let mut quoted = false;
    while let Some(at) = rest.find(['$', '\'']) {
        sql.push_str(&rest[..at]);
        let (sign, after) = rest[at..].split_at(1);
        let digits = after.len() - after.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        quoted ^= sign == "'";
        if sign == "'" || quoted || digits == 0 {
            sql.push_str(sign);
            rest = after;
            continue;
        }
        let number: usize = after[..digits].parse().ok()?;
        sql.push_str(&literal(parameters.get(number.checked_sub(1)?)?.as_deref().unwrap_or("")));
        rest = &after[digits..];
    }
    Some(sql + rest)
}

/// A text as SQL has it, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let escape = if text.contains('\\') { " E" } else { "" };
    format!("{escape}'{}'", text.replace('\'', "''").replace('\\', "\\\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_ends_with_the_transaction() {
        for (written, sent) in [
            ("SET row_security = off", "SET LOCAL row_security = off"),
            ("set local  x.y = 'a b';", "SET LOCAL x.y = 'a b'"),
            ("SET SESSION work_mem='1MB'", "SET LOCAL work_mem='1MB'"),
            ("SET SESSION AUTHORIZATION reader", "SET LOCAL SESSION AUTHORIZATION reader"),
            ("SET ROLE reader", "SET LOCAL ROLE reader"),
            ("select set_config('a.b', 'c', true)", "select set_config('a.b', 'c', true)"),
        ] {
            assert_eq!(local(written), sent);
        }
    }

    #[test]
    fn parameters_of_a_loop_are_texts_and_nothing_else() {
        let parameters = [Some("7".into()), Some("o'k\\".into()), None];
        for (written, sent) in [
            ("SET LOCAL a.b = $1", Some("SET LOCAL a.b = '7'")),
            ("SET LOCAL a.b = $2", Some("SET LOCAL a.b =  E'o''k\\\\'")),
            ("SET LOCAL a.b = $3", Some("SET LOCAL a.b = ''")),
            ("SET LOCAL a.b = '$1' || $", Some("SET LOCAL a.b = '$1' || $")),
            ("select set_config('a', $1, true), $2", Some("select set_config('a', '7', true),  E'o''k\\\\'")),
            ("SET LOCAL a.b = $4", None),
            ("SET LOCAL a.b = $0", None),
        ] {
            assert_eq!(filled(written, &parameters).as_deref(), sent, "{written}");
        }
        assert_eq!(filled("SET LOCAL a.b = $1", &[]), None);
    }
}
