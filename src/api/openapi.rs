//! The OpenAPI document: made of the routes and the types, and completed here with what holds for all of them.
//!
//! A route says what is its own: what a success is, and refusals that only it has (`(status = 404, description = "…")`;
//! that their body is a [`Problem`] is filled in). What the layers around it may answer is added by [`document`].

use serde_json::{Value, json};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::Response;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, ContentBuilder, ObjectBuilder, Ref, RefOr, ResponseBuilder, Type};
use utoipa::{Modify, OpenApi};

use crate::protocol::http::Problem;

/// What the document says of the whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "sweep",
        description = "What a coordinator answers. Every request shows the token of the state folder (`.sweep/token`); whatever is \
                       not a success is a problem document (RFC 9457) with a stable `code`. Durations cross the wire, never \
                       absolute times. A request whose answer was lost may be sent again. A repeated report, outcome, \
                       heartbeat, submission, file, pause, resume, cancellation or farewell changes nothing more. Four do: \
                       an agent that registers twice is two, of which one falls silent; leases of which nobody heard run out; \
                       a retry reopens what has failed again since; and a bump of the type `raise` raises again.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem)),
    security(("token" = [])),
    modifiers(&Token),
    tags(
        (name = "agents", description = "What an agent asks and says, from its arrival to its end."),
        (name = "sweeps", description = "What the command line asks."),
        (name = "artifacts", description = "Files named by their contents: checkpoints and weights."),
        (name = "service", description = "How the coordinator itself is doing."),
    ),
)]
pub(super) struct About;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The content of the state folder's file `token`."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// The document as JSON.
pub(super) fn document(mut described: utoipa::openapi::OpenApi) -> Value {
    for (path, item) in &mut described.paths.paths {
        let has_placeholders = path.contains('{');
        for operation in [&mut item.get, &mut item.head].into_iter().flatten() {
            add_common_answers(operation, has_placeholders);
        }
        for operation in [&mut item.put, &mut item.post, &mut item.delete].into_iter().flatten() {
            add_common_answers(operation, has_placeholders);
            add_answer(operation, "507", "the coordinator's disk is full");
        }
        for operation in [&mut item.get, &mut item.head, &mut item.put, &mut item.post, &mut item.delete] {
            operation.iter_mut().for_each(describe_refusals);
        }
    }
    let mut document =
        serde_json::to_value(described).unwrap_or_else(|error| json!({"error": error.to_string()}));
    add_ranges(&mut document);
    document
}

/// What may come from around the handlers, whatever the route.
fn add_common_answers(operation: &mut Operation, has_placeholders: bool) {
    let mut common = vec![
        ("401", "the request shows no valid token"),
        ("500", "a fault of the coordinator's own; its log has the cause"),
        ("503", "the coordinator is busy; the same request may succeed later"),
    ];
    if has_placeholders || operation.parameters.is_some() {
        common.push(("400", "the address or the body can't be read"));
    }
    if let Some(body) = &operation.request_body {
        common.extend([
            ("400", "the address or the body can't be read"),
            ("408", "the body did not come in time"),
            ("413", "the body is too large"),
        ]);
        if matches!(body, RefOr::T(body) if body.content.contains_key("application/json")) {
            common.extend([
                ("415", "the body does not say that it is JSON"),
                ("422", "the body is JSON and not what the route takes"),
            ]);
        }
    }
    for (status, description) in common {
        add_answer(operation, status, description);
    }
}

fn add_answer(operation: &mut Operation, status: &str, description: &str) {
    let answer = || RefOr::T(ResponseBuilder::new().description(description).build());
    operation.responses.responses.entry(status.to_owned()).or_insert_with(answer);
}

fn describe_refusals(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        if let (true, RefOr::T(response)) = (status.as_str() >= "400", response) {
            describe_refusal(status, response);
        }
    }
}

fn describe_refusal(status: &str, response: &mut Response) {
    response.content.insert("application/problem+json".to_owned(), problem().into());
    let (name, description) = match status {
        "401" => ("WWW-Authenticate", "Always `Bearer`."),
        "503" => ("Retry-After", "Seconds until then."),
        _ => return,
    };
    let text = ObjectBuilder::new().schema_type(Type::String);
    let header = HeaderBuilder::new().schema(Some(text)).description(Some(description)).build();
    response.headers.insert(name.to_owned(), header.into());
}

fn problem() -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build()
}

/// Says how large a whole number may be, which follows from its type, and gives formats the names that OpenAPI's registry
/// has for them: utoipa writes `u-int32`.
fn add_ranges(part: &mut Value) {
    if let Value::Object(object) = part
        && let Some(format) =
            object.get("format").and_then(Value::as_str).map(|name| name.replace("u-int", "uint"))
        && let Some(largest) = largest(&format)
    {
        object.insert("format".to_owned(), format.into());
        object.entry("maximum").or_insert(largest);
    }
    match part {
        Value::Object(object) => object.values_mut().for_each(add_ranges),
        Value::Array(items) => items.iter_mut().for_each(add_ranges),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn largest(format: &str) -> Option<Value> {
    match format {
        "int32" => Some(json!(i32::MAX)),
        "int64" => Some(json!(i64::MAX)),
        "uint16" => Some(json!(u16::MAX)),
        "uint32" => Some(json!(u32::MAX)),
        "uint64" => Some(json!(u64::MAX)),
        _ => None,
    }
}
