//! The typed configuration from canonical parameters: the one place where words of a spec become variants.

use serde_json::Value;

use super::schema::{Problem, Problems, complete};
use super::{
    AuxLoss, Averaging, Device, Distillation, EvalWeights, Head, InverseMode, LrSchedule, MaskMode, Masking,
    Method, Network, OptimizerAtStart, PairwiseLoss, Pool, Precision, Recipe, SelfTeaching, Stem,
    TargetGradient, Teacher, TeacherBatchNorm, TeacherScope, TeacherUpdate, TokenMode,
};
use crate::vocabulary::Parameters;

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
        deterministic: from.flag("deterministic")?,
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
        "checkpoint" => Teacher::Checkpoints(from.texts("teachers")?),
        _ => Teacher::Student(read_self_teaching(from)?),
    };
    Ok(Distillation {
        teacher,
        loss: read_aux_loss(from)?,
        weight: from.number("loss_weight")?,
        ce_weight: from.number("ce_weight")?,
    })
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

    use super::*;

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

    #[test]
    fn a_masked_recipe_holds_what_was_written() {
        let recipe =
            recipe(json!({"method": "mask", "method_start": 25, "method_every": 1, "loss_weight": 0.5,
            "aux_loss": "kd_softmax", "mask_ratio": 0.85, "mask_mode": "sgd", "inv_mode": "v2"}));
        let loss = AuxLoss { pairwise: PairwiseLoss::Kd { temperature: 2.0 }, softmax_first: true };
        let distillation = Distillation { start: 25, every: 1, loss, weight: 0.5, ce_weight: 1.0 };
        let masking =
            Masking { ratio: 0.85, mode: MaskMode::ConstantScalar, inverse: InverseMode::TakeFromTarget };
        assert_eq!(recipe.unwrap().method, Method::Mask(distillation, masking));
    }

    #[test]
    fn a_loss_without_temperature_needs_none() {
        let recipe = recipe(json!({"method": "kd", "method_start": 1, "method_every": 5, "loss_weight": 1,
            "aux_loss": "l2", "eval_sets": ["shifted"], "lr_steps": []}));
        let recipe = recipe.unwrap();
        let Method::Kd(distillation) = recipe.method else { panic!("not kd") };
        assert_eq!(distillation.loss, AuxLoss { pairwise: PairwiseLoss::L2, softmax_first: false });
        assert_eq!(recipe.eval_sets, Some(vec!["shifted".to_owned()]));
    }

    #[test]
    fn every_available_word_has_a_variant() {
        for aux_loss in ["kd", "l2", "cs", "kd_softmax", "l2_softmax", "cs_softmax"] {
            for (mask_mode, inv_mode) in [("s", "none"), ("sgf", "v1"), ("sgf", "v2")] {
                let parameters = json!({"method": "mask", "method_start": 1, "method_every": 1,
                    "loss_weight": 1, "mask_ratio": 0.5, "aux_loss": aux_loss, "mask_mode": mask_mode,
                    "inv_mode": inv_mode});
                assert!(recipe(parameters).is_ok(), "{aux_loss} {mask_mode} {inv_mode}");
            }
        }
        for device in ["auto", "cpu", "cuda"] {
            assert!(recipe(json!({ "device": device })).is_ok());
        }
    }

    #[test]
    fn what_came_over_the_network_broken_is_refused_with_every_reason() {
        let error = recipe(json!({"epochs": 0, "teacher": "ema"})).unwrap_err();
        assert_eq!(error, "`epochs: 0` is out of range; `teacher: ema` is not available in this version");
    }
}
