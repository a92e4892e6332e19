//! When two answers are the same.

use serde_json::{Map, Value};

/// The answer as it is compared: without what is for people, and without what the protocol takes for absent.
pub fn normal(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(object) = answer.as_object_mut() {
        object.remove("why");
        if let Some(ok) = object.get_mut("ok").and_then(Value::as_object_mut) {
            // What the reference says of itself beside the protocol.
            ok.remove("odd");
        }
        if let Some(ok) = object.get_mut("ok") {
            *ok = thin(ok);
        }
    }
    answer
}

fn absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn thin(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            // Object keys are compared as a map, whatever their order.
            let thinned = fields
                .iter()
                .map(|(name, inner)| (name.clone(), thin(inner)))
                .filter(|(_, inner)| !absent(inner))
                .collect::<Map<_, _>>();
            Value::Object(thinned)
        }
        Value::Array(items) => Value::Array(items.iter().map(thin).collect()),
        other => other.clone(),
    }
}

/// Whether the two say the same.
pub fn agree(left: &Value, right: &Value) -> bool {
    normal(left) == normal(right)
}

/// The names of the fields of two successful answers that differ.
pub fn differing(left: &Value, right: &Value) -> Vec<String> {
    let (left, right) = (normal(left), normal(right));
    let (Some(l), Some(r)) = (
        left.get("ok").and_then(Value::as_object),
        right.get("ok").and_then(Value::as_object),
    ) else {
        return vec!["ok".to_owned()];
    };
    let mut names: Vec<String> = l
        .keys()
        .chain(r.keys())
        .filter(|name| l.get(*name) != r.get(*name))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_fields_reasons_and_order_do_not_count() {
        assert!(agree(
            &json!({"ok": {"a": [], "b": {"c": null, "d": 1}, "odd": 1}}),
            &json!({"ok": {"b": {"d": 1}}}),
        ));
        assert!(agree(
            &json!({"err": "eof", "why": "x"}),
            &json!({"err": "eof"})
        ));
        assert!(agree(
            &json!({"ok": {"a": 1, "b": 2}}),
            &json!({"ok": {"b": 2, "a": 1}})
        ));
    }

    #[test]
    fn a_number_an_error_or_an_order_of_a_list_counts() {
        assert!(!agree(&json!({"ok": {"a": 1}}), &json!({"ok": {"a": 2}})));
        assert!(!agree(&json!({"ok": {}}), &json!({"err": "eof"})));
        assert!(!agree(
            &json!({"ok": {"a": [1, 2]}}),
            &json!({"ok": {"a": [2, 1]}})
        ));
        assert!(!agree(&json!({"ok": {"n": 0}}), &json!({"ok": {}})));
        assert_eq!(
            differing(
                &json!({"ok": {"a": 1, "b": 1}}),
                &json!({"ok": {"a": 1, "b": 2}})
            ),
            ["b"]
        );
    }
}
