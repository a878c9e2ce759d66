//! `hitless check --schema`: the table of keys as a JSON schema (draft 2020-12), for editors.
//!
//! Promises: accepts whatever `parse` accepts of one file; what only `parse` can see (bounds of
//! durations, addresses, keys that contradict each other) it leaves to `parse`.
//! Must not know: files, values.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::keys::Unset;
use super::kind::Kind;
use super::shape::{ROOT, Shape};

/// The schema of any of the files.
pub fn schema() -> Value {
    let mut schema = of(&ROOT);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("hitless.toml(5)");
    schema
}

fn of(shape: &Shape) -> Value {
    let mut schema = match (shape.kind(), &shape.each) {
        (_, Some(each)) => json!({ "type": "array", "items": of(each) }),
        (Kind::Table { short: "" }, None) => table(shape),
        (Kind::Table { short }, None) => {
            json!({ "anyOf": [table(shape), shape.field(short).map_or(json!(false), of)] })
        }
        (kind, None) => kind.schema(),
    };
    if let Some((key, place)) = shape.key {
        let space = if key.detail.is_empty() { "" } else { ". " };
        schema["description"] = json!(format!("{}{space}{}", key.summary, key.detail));
        // A default that is inherited is none of this place's own.
        if let (Unset::Default(text), 0) = (key.unset, place) {
            schema["default"] = as_json(text);
        }
        if !key.example.is_empty() {
            schema["examples"] = json!([as_json(key.example)]);
        }
    }
    schema
}

fn table(shape: &Shape) -> Value {
    if let Some(named) = &shape.named {
        let names = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";
        return json!({ "type": "object", "patternProperties": { names: of(named) }, "additionalProperties": false });
    }
    let properties: Map<String, Value> =
        shape.fields.iter().map(|(name, field)| ((*name).into(), of(field))).collect();
    let is_required = |field: &Shape| field.key.is_some_and(|(key, _)| key.unset == Unset::Required);
    let required: Vec<&str> =
        shape.fields.iter().filter(|(_, field)| is_required(field)).map(|(name, _)| *name).collect();
    let mut table = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

/// A value of the table of keys; its tests hold that it can be read.
fn as_json(text: &str) -> Value {
    let read = toml::de::ValueDeserializer::parse(text).and_then(Value::deserialize);
    read.unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_describes_every_key_and_refuses_others() {
        let schema = schema();
        let drain = &schema["properties"]["drain"];
        assert_eq!(drain["additionalProperties"], json!(false));
        assert_eq!(drain["properties"]["deadline"]["default"], json!("75s"));
        let service =
            &schema["properties"]["service"]["patternProperties"]["^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"];
        let route = &service["properties"]["route"]["items"]["properties"];
        assert_eq!(route["redirect"]["anyOf"][0]["required"], json!(["to"]));
        assert_eq!(route["timeout"]["properties"]["connect"].get("default"), None, "inherited");
        assert_eq!(service["properties"]["hosts"]["examples"], json!([["shop.example.com"]]));
    }
}
