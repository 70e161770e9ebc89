//! What the API is, for programs and for people.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::app::App;
use super::problem::Code;

/// What the routes do not say themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "pitchfleet",
        description = "Photographs of cricket pitches in, analyses out: batches of up to 100,000 photos, and single \
                       ones. Errors are `application/problem+json` (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "batches", description = "Sets of photos"),
        (name = "uploads", description = "Photos that clients bring"),
        (name = "results", description = "What became of the photos"),
        (name = "photos", description = "Single photos"),
        (name = "operation", description = "Workers and health"),
    ),
    security(("token" = [])),
)]
struct Base;

/// The document that the routes are added to.
pub(crate) fn base() -> Document {
    let mut document = Base::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let mut token = Http::new(HttpAuthScheme::Bearer);
    token.description =
        Some("From `pitchfleet token create`. Not needed where a server has no tokens.".to_owned());
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme("token", SecurityScheme::Http(token));
    document
}

/// Every route with the methods that it takes.
pub(crate) fn operations(document: &Document) -> impl Iterator<Item = (&str, &'static str)> {
    document.paths.paths.iter().flat_map(|(route, item)| {
        let methods = [
            ("GET", item.get.is_some()),
            ("PUT", item.put.is_some()),
            ("POST", item.post.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        let there = methods.into_iter().filter(|(_, is_there)| *is_there);
        there.map(move |(method, _)| (route.as_str(), method))
    })
}

/// Serves `document` as JSON and as a page, both written once.
pub(crate) fn routes(document: &Document) -> Router<Arc<App>> {
    let json = serde_json::to_value(document).unwrap_or_default();
    let text = Bytes::from(serde_json::to_vec(&json).unwrap_or_default());
    let page = Bytes::from(Page::of(&json).render().unwrap_or_default());
    Router::new()
        .route(
            "/openapi.json",
            get(|State(_): State<Arc<App>>| async move { json_response(text) }),
        )
        .route(
            "/docs",
            get(|State(_): State<Arc<App>>| async move { page_response(page) }),
        )
}

fn json_response(text: Bytes) -> Response {
    let mut response = text.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The page has no scripts and loads nothing.
fn page_response(page: Bytes) -> Response {
    let mut response = Html(page).into_response();
    let policy =
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

#[derive(Template)]
#[template(path = "docs.html")]
struct Page<'a> {
    title: &'a str,
    version: &'a str,
    description: &'a str,
    sections: Vec<Section<'a>>,
    schemas: Vec<Schema<'a>>,
    codes: &'static [Code],
}

/// The operations of a tag.
struct Section<'a> {
    description: &'a str,
    operations: Vec<Operation<'a>>,
}

struct Operation<'a> {
    id: &'a str,
    method: String,
    path: &'a str,
    summary: &'a str,
    description: &'a str,
    needs_token: bool,
    parameters: Vec<Field<'a>>,
    body: Option<String>,
    responses: Vec<Answer<'a>>,
}

struct Answer<'a> {
    status: &'a str,
    description: &'a str,
    shape: String,
}

struct Schema<'a> {
    name: &'a str,
    description: &'a str,
    fields: Vec<Field<'a>>,
    values: Vec<&'a str>,
}

struct Field<'a> {
    name: &'a str,
    place: &'a str,
    shape: String,
    required: bool,
    description: &'a str,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let object = value.get(key).and_then(Value::as_object);
    object
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
}

/// A schema in words: the name of one that is named, else its type.
fn shape(schema: &Value) -> String {
    if let Some(name) = text(schema, "$ref")
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty())
    {
        return name.to_owned();
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        let names: Vec<_> = list(schema, several)
            .iter()
            .map(shape)
            .filter(|name| !name.is_empty() && name != "null")
            .collect();
        if !names.is_empty() {
            return names.join(" or ");
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => {
            let kinds = kinds
                .iter()
                .filter_map(Value::as_str)
                .filter(|kind| *kind != "null");
            kinds.collect::<Vec<_>>().join(" or ")
        }
        Some(Value::String(kind)) => kind.clone(),
        _ => String::new(),
    };
    match schema.get("items") {
        Some(items) if kind == "array" => format!("array of {}", shape(items)),
        _ => kind,
    }
}

/// What a body is, by media type.
fn content(value: &Value) -> String {
    let parts = entries(value, "content").map(|(media_type, content)| {
        let shape = content.get("schema").map(shape).unwrap_or_default();
        if shape.is_empty() || media_type != "application/json" {
            media_type.to_owned()
        } else {
            shape
        }
    });
    parts.collect::<Vec<_>>().join(" or ")
}

fn fields(schema: &Value) -> Vec<Field<'_>> {
    let required = list(schema, "required");
    entries(schema, "properties")
        .map(|(name, field)| Field {
            name,
            place: "",
            shape: shape(field),
            required: required.iter().any(|known| known == name),
            description: text(field, "description"),
        })
        .collect()
}

impl<'a> Page<'a> {
    fn of(document: &'a Value) -> Self {
        let info = &document["info"];
        let operations: Vec<_> = entries(document, "paths")
            .flat_map(|(path, item)| {
                let methods = item.as_object().into_iter().flatten();
                methods.map(move |(method, operation)| (path, method, operation))
            })
            .collect();
        let sections = list(document, "tags").iter().map(|tag| {
            let name = text(tag, "name");
            let tagged = operations
                .iter()
                .filter(|(_, _, operation)| list(operation, "tags").iter().any(|tag| tag == name));
            Section {
                description: text(tag, "description"),
                operations: tagged
                    .map(|(path, method, operation)| Operation::of(path, method, operation))
                    .collect(),
            }
        });
        let schemas = entries(&document["components"], "schemas").map(|(name, schema)| Schema {
            name,
            description: text(schema, "description"),
            fields: fields(schema)
                .into_iter()
                .chain(list(schema, "oneOf").iter().flat_map(fields))
                .collect(),
            values: list(schema, "enum").iter().filter_map(Value::as_str).collect(),
        });
        Self {
            title: text(info, "title"),
            version: text(info, "version"),
            description: text(info, "description"),
            sections: sections.collect(),
            schemas: schemas.collect(),
            codes: Code::ALL,
        }
    }
}

impl<'a> Operation<'a> {
    fn of(path: &'a str, method: &str, operation: &'a Value) -> Self {
        let parameters = list(operation, "parameters").iter().map(|parameter| Field {
            name: text(parameter, "name"),
            place: text(parameter, "in"),
            shape: parameter.get("schema").map(shape).unwrap_or_default(),
            required: parameter
                .get("required")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            description: text(parameter, "description"),
        });
        let responses = entries(operation, "responses").map(|(status, response)| Answer {
            status,
            description: text(response, "description"),
            shape: content(response),
        });
        Self {
            id: text(operation, "operationId"),
            method: method.to_uppercase(),
            path,
            summary: text(operation, "summary"),
            description: text(operation, "description"),
            needs_token: operation.get("security").is_none(),
            parameters: parameters.collect(),
            body: operation.get("requestBody").map(content),
            responses: responses.collect(),
        }
    }
}
