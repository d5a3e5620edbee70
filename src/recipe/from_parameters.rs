//! The typed configuration from canonical parameters: the one place where words of a spec become variants.

use serde_json::Value;

use super::schema::{Problem, Problems, complete};
use super::{
    AuxLoss, Averaging, Device, Distillation, EvalWeights, Head, InverseMode, LrSchedule, MaskMode, Masking,
    Method, Network, OptimizerAtStart, PairwiseLoss, Pool, Precision, Recipe, SelfTeaching, Stem,
    TargetGradient, Teacher, TeacherBatchNorm, TeacherScope, TeacherUpdate, TeacherWeights, TokenMode,
};
use crate::vocabulary::{Parameters, state_of_weights};

impl TryFrom<&Parameters> for Recipe {
    type Error = Problems;

    /// Parameters reach a trial process over the network, so they are checked again.
    fn try_from(parameters: &Parameters) -> Result<Recipe, Problems> {
        let canonical = complete(parameters).map_err(Problems)?;
        read_recipe(&Reader(&canonical)).map_err(|problem| Problems(vec![problem]))
    }
}

/// Reads canonical parameters. That something is absent or of another type can't happen behind [`complete`]; it is
/// still an error and not a panic, since a new row of the table must not bring a worker down.
struct Reader<'p>(&'p Parameters);

fn read_recipe(from: &Reader<'_>) -> Result<Recipe, Problem> {
    Ok(Recipe {
        dataset: from.text("dataset")?.to_owned(),
        eval_sets: from.has("eval_sets").then(|| from.texts("eval_sets")).transpose()?,
        network: read_network(from)?,
        epochs: from.integer("epochs")?,
        batch_size: from.integer("batch_size")?,
        lr: from.number("lr")?,
        lr_schedule: read_lr_schedule(from)?,
        warmup_epochs: from.integer("warmup_epochs")?,
        head_lr_mult: from.number("head_lr_mult")?,
        backbone_lr_mult: from.number("backbone_lr_mult")?,
        momentum: from.number("momentum")?,
        weight_decay: from.number("weight_decay")?,
        eval_every: from.integer("eval_every")?,
        probes: if from.flag("lp")? { from.numbers("lp_lr_mult")? } else { Vec::new() },
        checkpoint_every: from.integer("checkpoint_every")?,
        device: read_device(from)?,
        precision: from.word("precision", |word| match word {
            "fp32" => Some(Precision::Fp32),
            "tf32" => Some(Precision::Tf32),
            "bf16" => Some(Precision::Bf16),
            _ => None,
        })?,
        threads: from.integer("threads")?,
        // On a CPU it is idle.
        deterministic: from.has("deterministic") && from.flag("deterministic")?,
        method: read_method(from)?,
    })
}

fn read_network(from: &Reader<'_>) -> Result<Network, Problem> {
    let stem = from.word("stem", |word| match word {
        "3x3" => Some(Stem::ThreeByThree),
        "5x5" => Some(Stem::FiveByFive),
        "7x7" => Some(Stem::SevenBySeven),
        _ => None,
    })?;
    let pool = match from.text("pool")? {
        "avg" => Pool::Average,
        "avg2x2" => Pool::Quarters,
        "gem" => Pool::GeneralisedMean { exponent: from.number("gem_p")? },
        _ => return Err(from.unreadable("pool")),
    };
    let hidden = from.integers("head_hidden")?;
    // The rest of a hidden head is idle without hidden layers.
    let head = if hidden.is_empty() {
        Head::default()
    } else {
        Head { hidden, batch_norm: from.flag("head_bn")?, dropout: from.number("head_dropout")? }
    };
    Ok(Network { depth: from.integer("depth")?, width: from.integer("width")?, stem, pool, head })
}

fn read_lr_schedule(from: &Reader<'_>) -> Result<LrSchedule, Problem> {
    match from.text("lr_schedule")? {
        "multistep" => {
            let steps = from.integers("lr_steps")?;
            // Without steps there is no factor in the canonical parameters; any would do, and 1 says so best.
            let gamma = if from.has("lr_gamma") { from.number("lr_gamma")? } else { 1.0 };
            Ok(LrSchedule::MultiStep { steps, gamma })
        }
        "cosine" => Ok(LrSchedule::Cosine),
        "constant" => Ok(LrSchedule::Constant),
        _ => Err(from.unreadable("lr_schedule")),
    }
}

fn read_device(from: &Reader<'_>) -> Result<Device, Problem> {
    from.word("device", |word| match word {
        "auto" => Some(Device::Auto),
        "cpu" => Some(Device::Cpu),
        "cuda" => Some(Device::Cuda(0)),
        _ => word.strip_prefix("cuda:")?.parse().ok().map(Device::Cuda),
    })
}

fn read_method(from: &Reader<'_>) -> Result<Method, Problem> {
    match from.text("method")? {
        "ce" => Ok(Method::Ce),
        "kd" => Ok(Method::Kd(read_distillation(from)?)),
        "mask" => Ok(Method::Mask(read_distillation(from)?, read_masking(from)?)),
        _ => Err(from.unreadable("method")),
    }
}

fn read_distillation(from: &Reader<'_>) -> Result<Distillation, Problem> {
    let teacher = match from.text("teacher")? {
        "checkpoint" => Teacher::Checkpoints(read_teachers(from)?),
        _ => Teacher::Student(read_self_teaching(from)?),
    };
    Ok(Distillation {
        teacher,
        loss: read_aux_loss(from)?,
        weight: from.number("loss_weight")?,
        ce_weight: from.number("ce_weight")?,
    })
}

/// Paths and selected trials have become hashes before a trial is planned; a trial process is never led to a file elsewhere.
fn read_teachers(from: &Reader<'_>) -> Result<Vec<TeacherWeights>, Problem> {
    let read = |name: &String| match state_of_weights(name) {
        Some(state) => Some(TeacherWeights::Trial(state)),
        None => name.parse().ok().map(TeacherWeights::File),
    };
    let teachers: Option<Vec<_>> = from.texts("teachers")?.iter().map(read).collect();
    teachers.ok_or_else(|| from.unreadable("teachers"))
}

fn read_self_teaching(from: &Reader<'_>) -> Result<SelfTeaching, Problem> {
    let update = match from.text("teacher")? {
        "frozen" => TeacherUpdate::Replace,
        "ema" => TeacherUpdate::Average(Averaging::Ema { ratio: from.number("ema_ratio")? }),
        "anne" => TeacherUpdate::Average(Averaging::Annealed { ratio: from.number("ema_ratio")? }),
        "sto" => TeacherUpdate::Average(Averaging::Plain),
        _ => return Err(from.unreadable("teacher")),
    };
    let scope = if from.flag("cls_only")? {
        let flows = from.flag("cls_only_grad")?;
        TeacherScope::Head(if flows { TargetGradient::Flows } else { TargetGradient::Stopped })
    } else {
        TeacherScope::Network(from.word("teacher_bn", |word| match word {
            "running" => Some(TeacherBatchNorm::Running),
            "batch" => Some(TeacherBatchNorm::Batch),
            _ => None,
        })?)
    };
    let optimizer_at_start = from.word("optimizer_at_start", |word| match word {
        "keep" => Some(OptimizerAtStart::Keep),
        "reset" => Some(OptimizerAtStart::Reset),
        _ => None,
    })?;
    let eval_weights = match from.text("eval_weights")? {
        "student" => EvalWeights::Student,
        "average" => EvalWeights::Average { ratio: from.number("ema_ratio")? },
        _ => return Err(from.unreadable("eval_weights")),
    };
    let (start, every) = (from.integer("method_start")?, from.integer("method_every")?);
    Ok(SelfTeaching { start, every, update, scope, optimizer_at_start, eval_weights })
}

fn read_aux_loss(from: &Reader<'_>) -> Result<AuxLoss, Problem> {
    let name = from.text("aux_loss")?;
    let (pairwise, softmax_first) = match name.strip_suffix("_softmax") {
        Some(pairwise) => (pairwise, true),
        None => (name, false),
    };
    let pairwise = match pairwise {
        "kd" => PairwiseLoss::Kd { temperature: from.number("temperature")? },
        "l2" => PairwiseLoss::L2,
        "cs" => PairwiseLoss::Cosine,
        _ => return Err(from.unreadable("aux_loss")),
    };
    Ok(AuxLoss { pairwise, softmax_first })
}

fn read_masking(from: &Reader<'_>) -> Result<Masking, Problem> {
    let token = |mode| Ok(MaskMode::Token(mode, read_inverse_mode(from)?));
    let mode = match from.text("mask_mode")? {
        "s" => token(TokenMode::TrainedScalar),
        "a" => token(TokenMode::TrainedVector),
        "sgf" => token(TokenMode::ConstantScalar),
        "agf" => token(TokenMode::ConstantVector),
        "d" => Ok(MaskMode::Dropout),
        _ => Err(from.unreadable("mask_mode")),
    }?;
    Ok(Masking { ratio: from.number("mask_ratio")?, mode, masks: from.integer("mask_multi")?.max(1) })
}

fn read_inverse_mode(from: &Reader<'_>) -> Result<InverseMode, Problem> {
    from.word("inv_mode", |word| match word {
        "none" => Some(InverseMode::Unused),
        "v1" => Some(InverseMode::AddToStudent),
        "v2" => Some(InverseMode::TakeFromTarget),
        _ => None,
    })
}

impl Reader<'_> {
    fn text(&self, name: &'static str) -> Result<&str, Problem> {
        self.read(name, Value::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What `meaning` makes of a word.
    fn word<T>(&self, name: &'static str, meaning: impl Fn(&str) -> Option<T>) -> Result<T, Problem> {
        self.read(name, |value| meaning(value.as_str()?))
    }

    fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        self.read(name, Value::as_bool)
    }

    fn number(&self, name: &'static str) -> Result<f64, Problem> {
        self.read(name, Value::as_f64)
    }

    fn numbers(&self, name: &'static str) -> Result<Vec<f64>, Problem> {
        self.read(name, |value| value.as_array()?.iter().map(Value::as_f64).collect())
    }

    fn integer(&self, name: &'static str) -> Result<u32, Problem> {
        self.read(name, as_u32)
    }

    fn integers(&self, name: &'static str) -> Result<Vec<u32>, Problem> {
        self.read(name, |value| value.as_array()?.iter().map(as_u32).collect())
    }

    fn texts(&self, name: &'static str) -> Result<Vec<String>, Problem> {
        self.read(name, |value| {
            value.as_array()?.iter().map(|item| Some(item.as_str()?.to_owned())).collect()
        })
    }

    fn read<'v, T>(
        &'v self,
        name: &'static str,
        as_type: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<T, Problem> {
        self.0.get(name).and_then(as_type).ok_or_else(|| self.unreadable(name))
    }

    fn unreadable(&self, name: &'static str) -> Problem {
        let value = self.0.get(name).map_or_else(|| "nothing".to_owned(), Value::to_string);
        Problem::WrongType { name, value }
    }
}

fn as_u32(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema::{Kind, PARAMETERS, find};
    use super::*;
    use crate::vocabulary::StateHash;

    fn recipe(parameters: Value) -> Result<Recipe, String> {
        let parameters: Parameters = serde_json::from_value(parameters).unwrap();
        Recipe::try_from(&parameters).map_err(|problems| problems.to_string())
    }

    #[test]
    fn nothing_written_is_the_recipe_of_the_study() {
        let recipe = recipe(json!({})).unwrap();
        assert_eq!((recipe.network.width, recipe.network.depth), (40, 18));
        assert_eq!((recipe.epochs, recipe.batch_size, recipe.lr), (50, 128, 0.1));
        assert_eq!(recipe.lr_schedule, LrSchedule::MultiStep { steps: vec![25, 35], gamma: 0.1 });
        assert_eq!((recipe.method, recipe.eval_sets, recipe.device), (Method::Ce, None, Device::Auto));
    }

    /// Parameters of a method that distils, with what is required there and `more`.
    fn distilled(method: &str, more: Value) -> Value {
        let mut parameters =
            json!({"method": method, "method_start": 25, "method_every": 1, "loss_weight": 0.5});
        if method == "mask" {
            parameters["mask_ratio"] = json!(0.85);
            parameters["mask_mode"] = json!("s");
            parameters["inv_mode"] = json!("none");
        }
        let Value::Object(more) = more else { panic!("not a map") };
        parameters.as_object_mut().unwrap().extend(more);
        parameters
    }

    fn distillation(parameters: Value) -> Distillation {
        match recipe(parameters).unwrap().method {
            Method::Kd(distillation) | Method::Mask(distillation, _) => distillation,
            Method::Ce => panic!("nothing is distilled"),
        }
    }

    fn self_teaching(parameters: Value) -> SelfTeaching {
        match distillation(parameters).teacher {
            Teacher::Student(teaching) => teaching,
            Teacher::Checkpoints(_) => panic!("others teach"),
        }
    }

    #[test]
    fn a_masked_recipe_holds_what_was_written() {
        let recipe = recipe(distilled(
            "mask",
            json!({"aux_loss": "kd_softmax", "mask_mode": "sgd", "inv_mode": "v2", "mask_multi": 4}),
        ));
        let teaching = SelfTeaching {
            start: 25,
            every: 1,
            update: TeacherUpdate::Replace,
            scope: TeacherScope::Network(TeacherBatchNorm::Running),
            optimizer_at_start: OptimizerAtStart::Keep,
            eval_weights: EvalWeights::Student,
        };
        let loss = AuxLoss { pairwise: PairwiseLoss::Kd { temperature: 2.0 }, softmax_first: true };
        let teacher = Teacher::Student(teaching);
        let distillation = Distillation { teacher, loss, weight: 0.5, ce_weight: 1.0 };
        let mode = MaskMode::Token(TokenMode::ConstantScalar, InverseMode::TakeFromTarget);
        let masking = Masking { ratio: 0.85, mode, masks: 4 };
        assert_eq!(recipe.unwrap().method, Method::Mask(distillation, masking));
    }

    #[test]
    fn averaged_references_and_averages_to_evaluate_have_their_ratio() {
        let ema = self_teaching(distilled("kd", json!({"teacher": "ema", "ema_ratio": 0.2})));
        assert_eq!(ema.update, TeacherUpdate::Average(Averaging::Ema { ratio: 0.2 }));
        let annealed = self_teaching(distilled("kd", json!({"teacher": "anne", "ema_ratio": 0.2})));
        assert_eq!(annealed.update, TeacherUpdate::Average(Averaging::Annealed { ratio: 0.2 }));
        let mean = self_teaching(distilled("kd", json!({"teacher": "sto"})));
        assert_eq!(mean.update, TeacherUpdate::Average(Averaging::Plain));
        let shadow = json!({"eval_weights": "average", "ema_ratio": 0.2, "optimizer_at_start": "reset"});
        let as_run = self_teaching(distilled("mask", shadow));
        assert_eq!(as_run.eval_weights, EvalWeights::Average { ratio: 0.2 });
        assert_eq!(
            (as_run.update, as_run.optimizer_at_start),
            (TeacherUpdate::Replace, OptimizerAtStart::Reset)
        );
        assert!(recipe(distilled("kd", json!({"eval_weights": "average"}))).is_err());
    }

    #[test]
    fn a_head_as_reference_has_a_gradient_and_a_network_has_statistics() {
        let scope = |more: Value| self_teaching(distilled("kd", more)).scope;
        assert_eq!(scope(json!({"teacher_bn": "batch"})), TeacherScope::Network(TeacherBatchNorm::Batch));
        assert_eq!(scope(json!({"cls_only": true})), TeacherScope::Head(TargetGradient::Stopped));
        let with_gradient = json!({"cls_only": true, "cls_only_grad": true});
        assert_eq!(scope(with_gradient), TeacherScope::Head(TargetGradient::Flows));
    }

    #[test]
    fn other_networks_are_named_by_hash_only() {
        let (hash, state) = ("5".repeat(64), StateHash::of(b"trained"));
        let taught_by = |teacher: &str| json!({"method": "kd", "teacher": "checkpoint", "teachers": [teacher], "loss_weight": 1});
        let distillation = distillation(taught_by(&hash));
        assert_eq!(
            distillation.teacher,
            Teacher::Checkpoints(vec![TeacherWeights::File(hash.parse().unwrap())])
        );
        let distillation = self::distillation(taught_by(&format!("state:{state}")));
        assert_eq!(distillation.teacher, Teacher::Checkpoints(vec![TeacherWeights::Trial(state)]));
        let error = recipe(taught_by("../secret.safetensors")).unwrap_err();
        assert_eq!(error, "`teachers: [\"../secret.safetensors\"]` has the wrong type");
    }

    #[test]
    fn network_and_probes_hold_what_was_written() {
        let recipe = recipe(json!({"stem": "7x7", "pool": "gem", "gem_p": 2, "head_hidden": [512, 64],
            "head_dropout": 0.5, "head_bn": true, "lp": true, "lp_lr_mult": [3, 0.1], "depth": 34}));
        let recipe = recipe.unwrap();
        let head = Head { hidden: vec![512, 64], batch_norm: true, dropout: 0.5 };
        let pool = Pool::GeneralisedMean { exponent: 2.0 };
        assert_eq!(recipe.network, Network { depth: 34, width: 40, stem: Stem::SevenBySeven, pool, head });
        assert_eq!(recipe.probes, [0.1, 3.0]);
    }

    #[test]
    fn a_loss_without_temperature_needs_none() {
        let loss = distillation(distilled("kd", json!({"aux_loss": "l2", "lr_steps": []}))).loss;
        assert_eq!(loss, AuxLoss { pairwise: PairwiseLoss::L2, softmax_first: false });
    }

    /// For each word of each choice, parameters in which it applies.
    fn where_it_applies(name: &str, word: &str) -> Value {
        let mut more = json!({ name: word });
        match name {
            "teacher" if word == "checkpoint" => {
                return json!({"method": "mask", "teacher": word, "teachers": ["5".repeat(64)],
                    "loss_weight": 1, "mask_ratio": 0.5, "mask_mode": "a", "inv_mode": "v1"});
            }
            "teacher" | "eval_weights" => more["ema_ratio"] = json!(0.5),
            "head_activation" => more["head_hidden"] = json!([8]),
            _ => {}
        }
        match name {
            "method" => distilled(word, json!({})),
            "teacher" | "eval_weights" | "aux_loss" | "mask_mode" | "inv_mode" | "optimizer_at_start"
            | "teacher_bn" => distilled("mask", more),
            _ => more,
        }
    }

    #[test]
    fn every_word_of_the_table_has_a_variant() {
        for parameter in PARAMETERS {
            let (Kind::Choice(words) | Kind::Device(words)) = &parameter.kind else { continue };
            let mut recipes = Vec::new();
            for word in *words {
                let read = recipe(where_it_applies(parameter.name, word.name));
                recipes
                    .push(read.unwrap_or_else(|error| panic!("{}: {}: {error}", parameter.name, word.name)));
            }
            // No two words may mean the same, or one of them was not read.
            for (index, read) in recipes.iter().enumerate() {
                assert!(!recipes[..index].contains(read), "{}: {}", parameter.name, words[index].name);
            }
        }
        assert_eq!(recipe(json!({"device": "cuda:3"})).unwrap().device, Device::Cuda(3));
    }

    /// Parameters whose values the recipe doesn't hold: they have a single word.
    const WORDLESS: &[&str] = &["arch", "head_activation"];

    #[test]
    fn every_parameter_of_the_table_is_read() {
        for parameter in PARAMETERS.iter().filter(|parameter| !WORDLESS.contains(&parameter.name)) {
            let (base, other) = two_values(parameter.name);
            let (base, other) = (recipe(base).unwrap(), recipe(other).unwrap());
            assert_ne!(base, other, "`{}` makes no difference", parameter.name);
        }
    }

    /// Two right sets of parameters that differ in this one only.
    fn two_values(name: &'static str) -> (Value, Value) {
        let both = |parameters: Value, a: Value, b: Value| {
            let with = |value: Value| {
                let mut parameters = parameters.clone();
                parameters[name] = value;
                parameters
            };
            (with(a), with(b))
        };
        match name {
            "dataset" => both(json!({}), json!("a"), json!("b")),
            "eval_sets" => both(json!({}), json!(["a"]), json!(["b"])),
            "depth" => both(json!({}), json!(18), json!(34)),
            "gem_p" => both(json!({"pool": "gem"}), json!(2), json!(3)),
            "head_hidden" => both(json!({}), json!([]), json!([8])),
            "head_dropout" => both(json!({"head_hidden": [8]}), json!(0), json!(0.5)),
            "head_bn" => both(json!({"head_hidden": [8]}), json!(false), json!(true)),
            "lr_steps" => both(json!({}), json!([1]), json!([2])),
            "lp" | "deterministic" => both(json!({}), json!(false), json!(true)),
            "lp_lr_mult" => both(json!({"lp": true}), json!([1]), json!([1, 2])),
            "device" => both(json!({}), json!("cuda:1"), json!("cuda:2")),
            "teachers" => {
                let ensemble = json!({"method": "kd", "teacher": "checkpoint", "loss_weight": 1});
                both(ensemble, json!(["5".repeat(64)]), json!(["6".repeat(64)]))
            }
            "method_start" | "method_every" => both(distilled("kd", json!({})), json!(2), json!(3)),
            "cls_only" => both(distilled("kd", json!({})), json!(false), json!(true)),
            "cls_only_grad" => both(distilled("kd", json!({"cls_only": true})), json!(false), json!(true)),
            "ema_ratio" => both(distilled("kd", json!({"teacher": "ema"})), json!(0.5), json!(0.25)),
            "loss_weight" | "ce_weight" | "temperature" | "mask_ratio" => {
                both(distilled("mask", json!({})), json!(0.5), json!(0.25))
            }
            "mask_multi" => both(distilled("mask", json!({})), json!(2), json!(3)),
            _ => match &find(name).unwrap().kind {
                Kind::Choice(words) => {
                    let [first, second] = [words[0].name, words[1].name];
                    (where_it_applies(name, first), where_it_applies(name, second))
                }
                Kind::Integer { .. } => both(json!({}), json!(2), json!(3)),
                Kind::Number(..) => both(json!({}), json!(0.5), json!(0.25)),
                kind => panic!("`{name}`, {kind}, is not tried"),
            },
        }
    }

    #[test]
    fn what_came_over_the_network_broken_is_refused_with_every_reason() {
        let error = recipe(json!({"epochs": 0, "teacher": "emma"})).unwrap_err();
        assert_eq!(error, "`epochs: 0` is out of range; `teacher` has no choice `emma`");
    }
}
