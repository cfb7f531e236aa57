//! How a later source changes an earlier one.
//!
//! | earlier | later | result |
//! |---|---|---|
//! | map | map | both, key by key; `{}` changes nothing |
//! | anything | scalar or list | the later one |
//! | anything | null | null: a section that is named and left empty wipes what stood there |
//! | absent | anything | the later one |

use crate::node::{Node, Value};

/// Lays `later` over `earlier`.
pub(crate) fn merge(earlier: Node, later: Node) -> Node {
    let Node { value, place, raw, origin } = earlier;
    match (value, later) {
        (Value::Map(mut map), Node { value: Value::Map(more), .. }) => {
            for entry in more.into_entries() {
                match map.entry_mut(&entry.key) {
                    Some(there) => {
                        let before = std::mem::replace(&mut there.node, Node::null(there.place));
                        let both_maps = before.as_map().is_some() && entry.node.as_map().is_some();
                        there.node = merge(before, entry.node);
                        if !both_maps {
                            there.place = entry.place;
                        }
                    }
                    None => map.put(entry),
                }
            }
            Node { value: Value::Map(map), place, raw, origin }
        }
        (_, later) => later,
    }
}

#[cfg(test)]
mod tests;
