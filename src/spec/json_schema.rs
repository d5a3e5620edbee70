//! A JSON Schema (draft 2020-12) of specs, made from what parsing reads: keys, distributions, and the built-in trainer's
//! parameters. It says what one value can be; what several say together only parsing knows.

use std::ops::Bound;

use serde_json::{Map, Value, json};

use super::document::{KEYS, WANDB_KEYS};
use super::forms::FORMS;
use super::settings::{KEEPS, ORDERS, SEED_ORDERS};
use crate::recipe::schema::{Kind, PARAMETERS, Parameter, Preset, Word, describe};

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
        "then": {"properties": map(keys(Any).map(|(key, schema)| (key, or_null(key, &schema))))},
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
}
use Owner::{Any, BuiltIn};

impl Owner {
    fn reference(self, section: &str) -> Value {
        let owner = if self == Any { "any" } else { "resnet" };
        json!({"$ref": format!("#/$defs/{owner}-{section}")})
    }

    fn name(self, section: &str) -> String {
        format!("{}-{section}", if self == Any { "any" } else { "resnet" })
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
        "keep" => "Whether the last checkpoint of a trial that succeeded stays",
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
        "priority" => integer(-1000, 1000),
        "resources" => resources(owner),
        "order" => json!({"enum": ORDERS}),
        "seed_order" => json!({"enum": SEED_ORDERS}),
        "keep" => json!({"enum": KEEPS}),
        "stages" if owner == Any => stages(),
        // `stages` of the built-in trainer, `early_terminate`
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
    let cpus = if owner == Any { integer(1, 1024) } else { json!(false) };
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {"gpus": integer(0, 64), "cpus": cpus, "memory": memory, "time": time},
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
    for owner in [Any, BuiltIn] {
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
    }
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
    }
}

fn of_parameter(parameter: &Parameter) -> Value {
    let mut doc = parameter.doc.to_owned();
    let conditions = describe(parameter.applies);
    if !conditions.is_empty() {
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
        Kind::Weights => json!({"type": "string", "pattern": "\\.safetensors$|^[0-9a-f]{64}$"}),
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
        let parameter = json!({"anyOf": [reference("any-parameter"), {"type": "null"}]});
        return json!({"type": ["object", "null"], "additionalProperties": parameter});
    }
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
    Value::Object(entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::super::error::Findings;
    use super::super::parse;
    use super::super::source::Source;
    use super::super::tree::{Node, Shape};
    use super::super::yaml;
    use super::*;

    /// The file that editors read, which the specs in `sweeps/` name.
    const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/spec.schema.json");

    fn as_json(node: &Node) -> Value {
        match &node.shape {
            Shape::Scalar(scalar) => scalar.value.clone(),
            Shape::List(items) => items.iter().map(as_json).collect(),
            Shape::Map(entries) => map(entries.iter().map(|entry| (entry.key.clone(), as_json(&entry.node)))),
        }
    }

    fn fits(text: &str) -> bool {
        let validator = jsonschema::draft202012::new(&json_schema()).unwrap();
        let node = yaml::read(&Source::file(0, "s.yaml", text), text, &mut Findings::default()).unwrap();
        validator.is_valid(&as_json(&node))
    }

    #[test]
    fn the_committed_copy_is_this_schema() {
        let text = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
        let copy = std::fs::read_to_string(COPY).unwrap_or_default();
        assert!(copy == text, "run: cargo run -p sweep -- schema > docs/spec.schema.json");
        jsonschema::draft202012::meta::validate(&json_schema()).unwrap();
    }

    #[test]
    fn every_key_says_what_it_is_for() {
        for key in all_keys() {
            assert!(!doc_of(key).is_empty(), "{key}");
            let is_refused = schema_of(key, Any) == json!(false);
            assert_eq!(is_refused, key == "early_terminate", "{key}");
        }
    }

    #[test]
    fn specs_that_come_with_the_program_fit_and_name_the_schema() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sweeps");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let specs: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|found| found == "yaml")).collect();
        assert!(!specs.is_empty());
        for path in specs {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(fits(&text), "{}", path.display());
            parse(&path.display().to_string(), &text, &[]).unwrap();
            let first = text.lines().next().unwrap();
            assert_eq!(
                first,
                "# yaml-language-server: $schema=../docs/spec.schema.json",
                "{}",
                path.display()
            );
        }
    }

    /// Right specs of every kind.
    const RIGHT: &[&str] = &[
        "parameters:\n",
        "trainer: resnet\nparameters: {lr: [0.1, 0.2], lr_steps: [[10], [20, 30]], device: 'cuda:1', teachers: [a.safetensors], \
         teacher: checkpoint, method: kd, loss_weight: {values: [1, 2]}, width: {range: [8, 16, 4]}}",
        "search: random\ncount: 5\nsearch_seed: 7\nseeds: [3, 4]\nparameters: {lr: {distribution: log_uniform_values, min: 0.1, max: 1}, \
         width: {min: 8, max: 16}, method: {values: [ce], probabilities: [1.0]}}",
        "parameters: {method: kd, loss_weight: 1, teacher: [frozen, ema]}\nzip: [{method_start: [1, 25], method_every: [1, 5]}]\n\
         when: [{if: {teacher: [ema]}, parameters: {ema_ratio: [0.1, 0.2]}}]\nexclude: [{teacher: ema, ema_ratio: [0.1]}]",
        "name: 5\ndescription: x\ncommand: [run, 1, \"{{x}}\"]\nmetric: {name: loss, goal: minimize}\nretries: 0\npriority: -5\norder: \
         balanced\nseed_order: last\nkeep: none\nresources: {gpus: 1, cpus: 2, memory: 8G, time: 3:30:00}\nparameters: {x: 1, epochs: 9, \
         o: {parameters: {lr: {value: 1}}}}\nstages: [{until: 3, parameters: [x]}, {until: epochs}]",
        "program: train.py\nmethod: random\nrun_cap: 9\nproject: p\nentity: e\nmetric: {name: loss}\nparameters: {lr: {distribution: \
         q_normal, mu: 1, sigma: 2, q: 0.1}}",
    ];

    /// Wrong ones, each by a single value or key.
    const WRONG: &[&str] = &[
        "parametres: {lr: 0.1}",
        "parameters: {lrr: 0.1}",
        "parameters: {lr: 0}",
        "parameters: {lr: fast}",
        "parameters: {epochs: 1.5}",
        "parameters: {method: [ce, kdd]}",
        "parameters: {lr: []}",
        "parameters: {lr: {distribution: unifrom, min: 0.1, max: 1}}",
        "parameters: {lr: {range: [1]}}",
        "parameters: {depth: {min: 18, max: 34}}",
        "parameters: {lr: null}",
        "seeds: 0\nparameters: {lr: 0.1}",
        "seeds: []\nparameters: {lr: 0.1}",
        "search: bayes\nparameters: {lr: 0.1}",
        "count: 0\nsearch: random\nparameters: {lr: 0.1}",
        "trainer: bert\nparameters: {lr: 0.1}",
        "metric: top1\nparameters: {lr: 0.1}",
        "resources: {cpus: 4}\nparameters: {lr: 0.1}",
        "resources: {time: 3}\nparameters: {lr: 0.1}",
        "order: random\nparameters: {lr: 0.1}",
        "retries: -1\nparameters: {lr: 0.1}",
        "zip: {lr: [1, 2]}\nparameters: {width: 8}",
        "parameters: {method: ce}\nwhen: [{parameters: {lr: 0.1}}]",
        "parameters: {lr: 0.1}\nexclude: [{}]",
        "command: run\n",
        "command: []\n",
        "command: [run]\nparameters: {x: [[1, 2]]}",
        "command: [run]\nstages: [{parameters: [x]}]\nparameters: {x: 1}",
        "stages: [{until: 5}]\nparameters: {lr: 0.1}",
        "early_terminate: {type: hyperband}\ncommand: [run]",
    ];

    #[test]
    fn right_specs_fit_and_wrong_ones_do_not() {
        for text in RIGHT {
            parse("s.yaml", text, &[]).unwrap_or_else(|error| panic!("{text}\n{error}"));
            assert!(fits(text), "{text}");
        }
        for text in WRONG {
            assert!(parse("s.yaml", text, &[]).is_err(), "{text}");
            assert!(!fits(text), "{text}");
        }
    }

    #[test]
    fn a_spec_with_a_base_may_say_little_and_take_keys_away() {
        assert!(fits("base: other.yaml\nseeds: 5\nparameters: {anything: 1, gone: null}\nretries: null"));
        assert!(!fits("base: other.yaml\nretries: many"));
    }
}
