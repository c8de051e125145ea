//! The description is of what there is, all of it and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;
use server::{Access, DOCUMENT, ROUTES};
use testkit::world::World;

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("the description is JSON")
}

fn described(document: &Value) -> BTreeSet<(String, String, bool)> {
    let members = |value: &Value| value.as_object().cloned().expect("an object");
    let operations = members(&document["paths"]).into_iter().flat_map(|(path, methods)| {
        members(&methods).into_iter().map(move |(method, operation)| {
            let guarded =
                operation["security"].as_array().is_some_and(|security| !security.is_empty());
            (method.to_uppercase(), path.clone(), guarded)
        })
    });
    operations.collect()
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let routes = ROUTES.iter().map(|route| {
        (route.method.to_string(), route.path.replace("{*", "{"), route.access == Access::Session)
    });
    assert_eq!(described(&document()), routes.collect());
}

#[test]
fn every_reference_of_the_description_leads_somewhere_and_every_operation_has_a_name() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let paths = document["paths"].as_object().unwrap().values();
    let operations: Vec<_> =
        paths.flat_map(|methods| methods.as_object().unwrap().values()).collect();
    let names: BTreeSet<_> =
        operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len());
    for (path, methods) in document["paths"].as_object().unwrap() {
        let placeholders =
            path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        for (placeholder, operation) in placeholders
            .flat_map(|name| methods.as_object().unwrap().values().map(move |it| (name, it)))
        {
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(
                parameters.iter().any(|it| it["name"] == placeholder && it["in"] == "path"),
                "{path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_needs_no_credentials() {
    let world = World::start().await;
    let reply = world.wire().send("GET", &format!("{}/openapi.json", world.url()), &[], "").await;
    assert_eq!(reply.ok(), document());
}
