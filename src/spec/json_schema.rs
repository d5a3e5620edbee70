//! A JSON Schema (draft 2020-12) of specs, made from what parsing reads: keys, distributions, and the built-in trainer's
//! parameters. It says what one value can be; what several say together only parsing knows.

use std::ops::Bound;

use serde_json::{Map, Value, json};

use super::document::{KEYS, WANDB_KEYS};
use super::forms::FORMS;
use super::settings::{KEEPS, ORDERS, SEED_ORDERS};
use crate::recipe::schema::{self, Kind, PARAMETERS, Parameter, Preset, Word};
use crate::vocabulary::HIGHEST_PRIORITY;

/// The schema.
#[must_use]
pub fn json_schema() -> Value {
    let docs = all_keys().map(|key| (key, json!({"description": doc_of(key)})));
    let runs_a_program = json!({"anyOf": [{"required": ["command"]}, {"required": ["program"]}]});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Spec of a sweep",
        "type": "object",
        "additionalProperties": false,
        "properties": map(docs),
        // A spec with a base may run anything, and takes keys away with `null`.
        "if": {"required": ["base"]},
        "then": {"properties": map(keys(Either).map(|(key, schema)| (key, or_null(key, &schema))))},
        "else": {
            "if": runs_a_program,
            "then": {"properties": map(keys(Any))},
            "else": {"properties": map(keys(BuiltIn))},
        },
        "$defs": map(definitions()),
    })
}

/// Whose parameters a section holds.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    /// A program's, of any name.
    Any,
    /// The built-in trainer's.
    BuiltIn,
    /// Whose they are, another file says.
    Either,
}
use Owner::{Any, BuiltIn, Either};

impl Owner {
    fn reference(self, section: &str) -> Value {
        reference(&self.name(section))
    }

    fn name(self, section: &str) -> String {
        let owner = match self {
            Any => "any",
            BuiltIn => "resnet",
            Either => "either",
        };
        format!("{owner}-{section}")
    }
}

fn all_keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().chain(WANDB_KEYS).copied()
}

fn keys(owner: Owner) -> impl Iterator<Item = (&'static str, Value)> {
    all_keys().map(move |key| (key, schema_of(key, owner)))
}

/// What a key of the document is for, in one sentence.
fn doc_of(key: &str) -> &'static str {
    match key {
        "base" => {
            "Path of another spec, relative to this one, whose keys hold where this one doesn't have them"
        }
        "name" => "What the sweep is called; left out: the file's name",
        "description" => "What it is about",
        "trainer" => "The built-in trainer; it may be left out",
        "command" => "A program and its arguments; {{name}} puts a parameter in, ${args} all of them",
        "code" => {
            "A folder, relative to this file, that is kept as it is when the spec is submitted; or `live`: nothing is kept. Left \
             out, the files that the command names are"
        }
        "search" => "All combinations, or `count` draws",
        "count" => "How many configurations a random search draws",
        "search_seed" => "Another one draws other configurations",
        "metric" => "What results are ranked by",
        "seeds" => "Number of seeds, from 0, or a list of them",
        "parameters" => "A scalar is fixed, a list is swept, a map is a distribution or a range",
        "zip" => "Groups of parameters that move together",
        "when" => "Parameters that exist under conditions",
        "exclude" => "Combinations to leave out; a list means any of its values",
        "retries" => "How often a trial may fail for reasons of its own and run again",
        "priority" => "Jobs of a higher one run first",
        "resources" => "What one trial needs",
        "order" => "In which order trials are started",
        "seed_order" => {
            "One configuration's seeds one after the other, or all configurations with the first seed first"
        }
        "keep" => {
            "Which checkpoints of a trial stay: the last one, the best by the metric beside it, all, or none"
        }
        "stages" => "Until which epoch which parameters of a program matter",
        "method" => "W&B's word for `search`",
        "program" => "W&B's word for the program that `${program}` stands for",
        "run_cap" => "W&B's word for `count`",
        "early_terminate" => "Not available",
        "project" | "entity" => "W&B's; it means nothing here",
        _ => "",
    }
}

fn schema_of(key: &str, owner: Owner) -> Value {
    let text = json!({"type": ["string", "number", "boolean"]});
    match key {
        "base" | "program" | "project" | "entity" => json!({"type": "string", "minLength": 1}),
        "name" | "description" => text,
        "trainer" => json!({"const": "resnet"}),
        "command" => json!({"type": "array", "minItems": 1, "items": text}),
        "code" if owner != BuiltIn => json!({"type": "string", "minLength": 1}),
        "search" | "method" => json!({"enum": ["grid", "random"]}),
        "count" | "run_cap" => integer(1, 10_000_000),
        "search_seed" => json!({"type": "integer", "minimum": 0}),
        "metric" => metric(),
        "seeds" => {
            let list = json!({"type": "array", "minItems": 1, "uniqueItems": true, "items": {"type": "integer", "minimum": 0}});
            json!({"anyOf": [integer(1, 10_000_000), list]})
        }
        "parameters" => json!({"anyOf": [owner.reference("parameters"), {"type": "null"}]}),
        "zip" => json!({"type": "array", "minItems": 1, "items": owner.reference("parameters")}),
        "when" => owner.reference("when"),
        "exclude" => json!({"type": "array", "minItems": 1, "items": owner.reference("conditions")}),
        "retries" => integer(0, 100),
        "priority" => integer(-HIGHEST_PRIORITY, HIGHEST_PRIORITY),
        "resources" => resources(owner),
        "order" => json!({"enum": ORDERS}),
        "seed_order" => json!({"enum": SEED_ORDERS}),
        "keep" => json!({"enum": KEEPS}),
        "stages" if owner != BuiltIn => stages(),
        // `code` and `stages` of the built-in trainer, `early_terminate`
        _ => json!(false),
    }
}

fn metric() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}, "goal": {"enum": ["maximize", "minimize"]}},
    })
}

fn resources(owner: Owner) -> Value {
    let memory =
        json!({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?[KMGTkmgt](i?B)?$", "examples": ["8G"]});
    let time = json!({"type": "string", "pattern": "^([0-9]+-)?[0-9]+:[0-9]{2}:[0-9]{2}$|^( *[0-9]+ *[dhms])+$", "examples": ["3h30m"]});
    let cpus = if owner == BuiltIn { json!(false) } else { integer(1, 1024) };
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {"gpus": integer(0, 64), "cpus": cpus, "memory": memory, "time": time, "stall_timeout": time},
    })
}

fn stages() -> Value {
    let names = json!({"type": "array", "items": {"type": "string"}});
    json!({
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["until"],
            "properties": {"until": {"anyOf": [integer(1, 100_000), {"type": "string"}]}, "parameters": names},
        },
    })
}

fn definitions() -> Vec<(String, Value)> {
    let mut definitions = Vec::new();
    for owner in [Any, BuiltIn, Either] {
        definitions.extend(
            [("parameters", parameters(owner)), ("conditions", conditions(owner)), ("when", when(owner))]
                .map(|(section, schema)| (owner.name(section), schema)),
        );
    }
    let of_parameter = |parameter: &Parameter| (value_name(parameter), of_kind(&parameter.kind));
    definitions.extend(PARAMETERS.iter().map(of_parameter));
    definitions.push(("any-value".to_owned(), json!({"type": ["string", "number", "boolean"]})));
    definitions.push(("any-parameter".to_owned(), any_parameter()));
    definitions.push(("drawn".to_owned(), drawn()));
    definitions.push(("selector".to_owned(), selector()));
    definitions
}

/// The definition of one value of a parameter.
fn value_name(parameter: &Parameter) -> String {
    format!("value-of-{}", parameter.name)
}

fn reference(definition: &str) -> Value {
    json!({"$ref": format!("#/$defs/{definition}")})
}

fn when(owner: Owner) -> Value {
    json!({"type": "array", "minItems": 1, "items": {
        "type": "object",
        "additionalProperties": false,
        "required": ["if"],
        "anyOf": [{"required": ["parameters"]}, {"required": ["when"]}],
        "properties": {
            "if": owner.reference("conditions"),
            "parameters": owner.reference("parameters"),
            "when": owner.reference("when"),
        },
    }})
}

fn parameters(owner: Owner) -> Value {
    match owner {
        Any => json!({"type": "object", "additionalProperties": reference("any-parameter")}),
        BuiltIn => {
            let properties = PARAMETERS.iter().map(|parameter| (parameter.name, of_parameter(parameter)));
            json!({"type": "object", "additionalProperties": false, "properties": map(properties)})
        }
        Either => {
            let properties = list_valued().map(|parameter| (parameter.name, either_parameter(parameter)));
            let others = reference("any-parameter");
            json!({"type": "object", "additionalProperties": others, "properties": map(properties)})
        }
    }
}

/// The built-in trainer's parameters of which a value is more than any value of a program's parameter.
fn list_valued() -> impl Iterator<Item = &'static Parameter> {
    PARAMETERS.iter().filter(|parameter| parameter.is_list())
}

fn either_parameter(parameter: &Parameter) -> Value {
    json!({"anyOf": [of_parameter(parameter), reference("any-parameter")]})
}

fn any_parameter() -> Value {
    let mut forms = alternatives(&reference("any-value"), true);
    forms.push(object(&json!({"parameters": Any.reference("parameters")}), &["parameters"]));
    json!({"anyOf": forms})
}

/// Names and values, of which a list means any.
fn conditions(owner: Owner) -> Value {
    let any_of =
        |single: Value| json!({"anyOf": [single, {"type": "array", "minItems": 1, "items": single}]});
    match owner {
        Any => {
            let value = any_of(reference("any-value"));
            json!({"type": "object", "minProperties": 1, "additionalProperties": value})
        }
        BuiltIn => {
            let of_parameter = |parameter: &Parameter| any_of(reference(&value_name(parameter)));
            let properties = PARAMETERS.iter().map(|parameter| (parameter.name, of_parameter(parameter)));
            json!({"type": "object", "minProperties": 1, "additionalProperties": false, "properties": map(properties)})
        }
        Either => {
            let any = any_of(reference("any-value"));
            let either = |parameter: &Parameter| {
                let own = any_of(reference(&value_name(parameter)));
                (parameter.name, json!({"anyOf": [own, any]}))
            };
            let properties = map(list_valued().map(either));
            json!({"type": "object", "minProperties": 1, "additionalProperties": any, "properties": properties})
        }
    }
}

fn of_parameter(parameter: &Parameter) -> Value {
    let mut doc = parameter.doc.to_owned();
    if let Some(conditions) = schema::conditions(parameter.applies) {
        doc += &format!("; applies where {conditions}");
    }
    if matches!(parameter.default, Preset::Required) {
        doc += "; required there";
    }
    let is_numeric = matches!(parameter.kind, Kind::Integer { .. } | Kind::Number(..));
    let forms = alternatives(&reference(&value_name(parameter)), is_numeric);
    let mut schema = json!({"description": doc, "anyOf": forms});
    if let Some(default) = parameter.default.value() {
        schema["default"] = default;
    }
    schema
}

/// One value, a list of them, and the maps that stand for values.
fn alternatives(single: &Value, is_numeric: bool) -> Vec<Value> {
    let list = json!({"type": "array", "minItems": 1, "items": single});
    let probability = json!({"type": "number", "minimum": 0, "maximum": 1});
    let probabilities = json!({"type": "array", "minItems": 1, "items": probability});
    let constant = json!({"value": single, "distribution": {"const": "constant"}});
    let categorical =
        json!({"values": list, "probabilities": probabilities, "distribution": {"const": "categorical"}});
    let mut forms =
        vec![single.clone(), list, object(&constant, &["value"]), object(&categorical, &["values"])];
    if is_numeric {
        forms.push(reference("drawn"));
    }
    forms
}

/// The maps that stand for numbers.
fn drawn() -> Value {
    let number = json!({"type": "number"});
    let range = json!({"type": "array", "minItems": 2, "maxItems": 3, "items": number});
    let mut forms = vec![
        object(&json!({"range": range}), &["range"]),
        // `min` and `max` alone mean one of the distributions.
        object(&json!({"min": number, "max": number}), &["min", "max"]),
    ];
    let drawn = FORMS.iter().filter(|form| !["constant", "categorical"].contains(&form.name));
    forms.extend(drawn.map(|form| {
        let numbers = form.required.iter().chain(form.optional).map(|key| (*key, number.clone()));
        let mut properties = map(numbers);
        properties["distribution"] = json!({"const": form.name});
        object(&properties, &[form.required, &["distribution"]].concat())
    }));
    json!({"anyOf": forms})
}

/// Trials of a sweep.
fn selector() -> Value {
    let numbers = |least: i64| {
        let number = json!({"type": "integer", "minimum": least});
        json!({"anyOf": [number, {"type": "array", "minItems": 1, "items": number}]})
    };
    let documented = |mut schema: Value, doc: &str| {
        schema["description"] = doc.into();
        schema
    };
    let sweep = json!({"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}]});
    let best = json!({"type": "integer", "minimum": 1});
    let properties = json!({
        "sweep": documented(sweep, "Name or id of the sweep"),
        "trials": documented(numbers(1), "Only trials of these numbers"),
        "seeds": documented(numbers(0), "Only trials with these seeds"),
        "where": documented(BuiltIn.reference("conditions"), "Only trials with these values; a list means any of its values"),
        "best": documented(best, "Of these only so many, the best by the sweep's metric"),
    });
    let mut selector = object(&properties, &["sweep"]);
    selector["description"] = "The final weights of trials of a sweep".into();
    selector
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Integer { least, most } => integer(*least, *most),
        Kind::IntegerOf(numbers) => json!({"enum": numbers}),
        Kind::Number(from, to) => {
            let mut schema = json!({"type": "number"});
            match from {
                Bound::Included(least) => schema["minimum"] = json!(least),
                Bound::Excluded(limit) => schema["exclusiveMinimum"] = json!(limit),
                Bound::Unbounded => {}
            }
            match to {
                Bound::Included(most) => schema["maximum"] = json!(most),
                Bound::Excluded(limit) => schema["exclusiveMaximum"] = json!(limit),
                Bound::Unbounded => {}
            }
            schema
        }
        Kind::Choice(words) => json!({"oneOf": of_words(words)}),
        Kind::Device(words) => {
            let mut devices = of_words(words);
            devices.push(json!({"type": "string", "pattern": "^cuda:[0-9]+$"}));
            json!({"oneOf": devices})
        }
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Name => json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"}),
        Kind::Weights => {
            let file = json!({"type": "string", "pattern": "\\.safetensors$|^[0-9a-f]{64}$"});
            json!({"anyOf": [file, reference("selector")]})
        }
        Kind::List { of, least } => json!({"type": "array", "minItems": least, "items": of_kind(of)}),
        Kind::Set { of, least } => {
            json!({"type": "array", "minItems": least, "uniqueItems": true, "items": of_kind(of)})
        }
    }
}

fn of_words(words: &[Word]) -> Vec<Value> {
    let spellings = words.iter().flat_map(|word| [Some(word.name), word.alias].map(|name| (name, word.doc)));
    spellings.filter_map(|(name, doc)| Some(json!({"const": name?, "description": doc}))).collect()
}

fn integer(least: i64, most: i64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// What a key of a spec with a base can be: `null` takes it, or a parameter, away.
fn or_null(key: &str, schema: &Value) -> Value {
    if key == "parameters" {
        let gone = |schema: Value| json!({"anyOf": [schema, {"type": "null"}]});
        let properties = list_valued().map(|parameter| (parameter.name, gone(either_parameter(parameter))));
        let others = gone(reference("any-parameter"));
        return json!({"type": ["object", "null"], "additionalProperties": others, "properties": map(properties)});
    }
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
    Value::Object(entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests;
