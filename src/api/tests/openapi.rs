//! The document that describes the API.

use super::*;
use serde_json::Value;

async fn document() -> Value {
    let server = serve_on_a_free_port().await;
    let response = server.ask(|http, url| http.get(format!("{url}/v1/openapi.json"))).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    response.json().await.unwrap()
}

#[tokio::test]
async fn the_document_says_what_every_route_may_answer() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut lines = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let answers: Vec<_> = operation["responses"].as_object().unwrap().keys().cloned().collect();
            lines.push(format!("{method} {path}: {}", answers.join(" ")));
        }
    }
    insta::assert_snapshot!("paths", lines.join("\n"));
}

#[tokio::test]
async fn every_refusal_has_a_problem_as_its_body_and_every_route_a_description() {
    let document = document().await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{method} {path}");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                if status.as_str() >= "400" {
                    let schema = &answer["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_the_token_is_asked_for() {
    let document = document().await;
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let name = reference.split('"').next().unwrap().strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    assert_eq!(document["security"][0]["token"], serde_json::json!([]));
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}

#[tokio::test]
async fn files_are_described_as_bytes() {
    let document = document().await;
    for (route, kind) in
        [("/v1/backup", "application/vnd.sqlite3"), ("/v1/artifacts/{hash}", "application/octet-stream")]
    {
        let schema = &document["paths"][route]["get"]["responses"]["200"]["content"][kind]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/Contents", "{route}");
    }
    let contents = &document["components"]["schemas"]["Contents"];
    assert_eq!((&contents["type"], &contents["format"]), (&"string".into(), &"binary".into()));
}

#[tokio::test]
async fn numbers_have_the_ranges_of_their_types() {
    let document = document().await;
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        (&schemas["SweepId"]["minimum"], &schemas["SweepId"]["maximum"]),
        (&1.into(), &i64::MAX.into())
    );
    let pid = &schemas["RegisterRequest"]["properties"]["pid"];
    assert_eq!((&pid["minimum"], &pid["maximum"]), (&0.into(), &u32::MAX.into()));
    assert_eq!(pid["format"], "uint32");
    let wait = &schemas["LeaseRequest"]["properties"]["wait_millis"];
    assert_eq!((&wait["minimum"], &wait["maximum"]), (&0.into(), &u64::MAX.into()));
}
