use std::ops::Bound::{Excluded, Included, Unbounded};

use super::parameter::Preset::{Absent, Flag, Integer, Integers, Number, Numbers, Required, Text};
use super::{Condition, Is, Kind, Parameter, Preset, Word};

/// Every parameter of the built-in trainer, in the order of METHOD.md §8.
pub static PARAMETERS: &[Parameter] = &[
    // Data.
    parameter("dataset", Kind::Name, Text("cifar10"), "Imported dataset to train and test on"),
    parameter("eval_sets", NAMES, Absent, "Extra sets to evaluate on; left out: all that the dataset has"),
    // Network.
    parameter("arch", Kind::Choice(ARCHITECTURES), Text("resnet-cifar"), "Family of networks"),
    parameter("width", UP_TO_1024, Integer(40), "Base width; the features have 8 × width channels"),
    parameter("stem", Kind::Choice(STEMS), Text("3x3"), "First convolution"),
    parameter("depth", Kind::IntegerOf(&[18, 34]), Integer(18), "Number of layers"),
    parameter("pool", Kind::Choice(POOLS), Text("avg"), "How the last feature maps become features"),
    parameter("gem_p", ABOVE_0, Number(3.0), "Exponent of generalised-mean pooling").when(GEM),
    parameter("head_hidden", WIDTHS, Integers(&[]), "Widths of hidden layers in the head"),
    parameter("head_dropout", FROM_0_BELOW_1, Number(0.0), "Dropout in the hidden head").when(HIDDEN_HEAD),
    parameter("head_bn", Kind::Flag, Flag(false), "Batch norm in the hidden head").when(HIDDEN_HEAD),
    parameter("head_activation", Kind::Choice(ACTIVATIONS), Text("relu"), "Activation in the hidden head")
        .when(HIDDEN_HEAD),
    // Optimization.
    parameter("epochs", EPOCH, Integer(50), "Passes over the training set"),
    parameter("batch_size", BATCH, Integer(128), "Images per step"),
    parameter("lr", ABOVE_0, Number(0.1), "Initial learning rate"),
    parameter("lr_schedule", Kind::Choice(SCHEDULES), Text("multistep"), "How the learning rate changes"),
    parameter("lr_steps", EPOCHS, Integers(&[25, 35]), "After these epochs lr is multiplied by lr_gamma")
        .when(MULTISTEP),
    parameter("lr_gamma", ABOVE_0_UP_TO_1, Number(0.1), "Factor of each step").when(STEPS),
    parameter("warmup_epochs", EPOCH_OR_0, Integer(0), "Epochs of linear warm-up before the schedule"),
    parameter("momentum", FROM_0_BELOW_1, Number(0.9), "Momentum of SGD"),
    parameter("weight_decay", FROM_0, Number(1e-4), "Weight decay on every parameter"),
    parameter("head_lr_mult", FROM_0, Number(1.0), "Factor on the head's learning rate"),
    parameter("backbone_lr_mult", FROM_0, Number(1.0), "Factor on the backbone's learning rate"),
    // Evaluation and keeping.
    parameter("eval_every", EPOCH, Integer(5), "Evaluate after every so many epochs, and after the last"),
    parameter("lp", Kind::Flag, Flag(false), "Train a linear probe before each evaluation"),
    parameter("lp_lr_mult", FACTORS, Numbers(&[1.0]), "Factors on the probes' learning rate, one probe each")
        .when(PROBED),
    parameter(
        "checkpoint_every",
        EPOCH,
        Integer(1),
        "Epochs between checkpoints inside a job; changes no result, so it does not make another trial",
    )
    .without_influence(),
    // Machine.
    parameter("device", Kind::Device(DEVICES), Text("auto"), "Where it runs"),
    parameter("precision", Kind::Choice(PRECISIONS), Text("fp32"), "Number format of the network"),
    parameter("threads", UP_TO_1024, Integer(1), "CPU threads; part of what decides the bits"),
    parameter(
        "deterministic",
        Kind::Flag,
        Flag(false),
        "Ask a GPU for the same bits every time; a CPU always gives them",
    )
    .when(ON_A_GPU)
    .harmless_elsewhere(),
    // Method.
    parameter("method", Kind::Choice(METHODS), Text("ce"), "What is trained on"),
    parameter("teacher", Kind::Choice(TEACHERS), Text("frozen"), "Reference model").when(DISTILLED),
    parameter(
        "teachers",
        TEACHERS_OF_ENSEMBLE,
        Required,
        "Weights of the networks that teach; their logits are averaged",
    )
    .when(ENSEMBLE),
    parameter("method_start", EPOCH_OR_0, Required, "Epoch after which the first reference may be taken")
        .when(SELF_TAUGHT),
    parameter("method_every", EPOCH, Required, "A reference is taken after epochs that this divides")
        .when(SELF_TAUGHT),
    parameter("cls_only", Kind::Flag, Flag(false), "The reference is the head alone").when(SELF_TAUGHT),
    parameter("cls_only_grad", Kind::Flag, Flag(false), "Let gradient flow through the target")
        .when(HEAD_TAUGHT),
    parameter("aux_loss", Kind::Choice(AUX_LOSSES), Text("kd"), "Auxiliary loss").when(DISTILLED),
    parameter("loss_weight", FROM_0, Required, "Weight λ of the auxiliary loss").when(DISTILLED),
    parameter("ce_weight", FROM_0, Number(1.0), "Weight of cross entropy from the method's start")
        .when(DISTILLED),
    parameter("temperature", ABOVE_0, Number(2.0), "Temperature of the loss kd").when(SOFTENED),
    parameter("ema_ratio", ABOVE_0_UP_TO_1, Required, "Weight of the new value in averages").when(AVERAGED),
    parameter("mask_ratio", ABOVE_0_BELOW_1, Required, "Share of the channels that is removed").when(MASKED),
    parameter("mask_mode", Kind::Choice(MASK_MODES), Required, "What fills removed channels").when(MASKED),
    parameter("inv_mode", Kind::Choice(INVERSE_MODES), Required, "How the inverse mask is used")
        .when(INVERTED)
        .harmless_elsewhere(),
    parameter("mask_multi", Kind::Integer { least: 0, most: 64 }, Integer(1), "Masks per sample; 0 means 1")
        .when(MASKED),
    parameter(
        "optimizer_at_start",
        Kind::Choice(AT_START),
        Text("keep"),
        "What the method's start does to SGD",
    )
    .when(SELF_TAUGHT),
    parameter(
        "teacher_bn",
        Kind::Choice(TEACHER_BN),
        Text("running"),
        "Statistics in the reference's batch norm",
    )
    .when(NETWORK_TAUGHT),
    parameter("eval_weights", Kind::Choice(EVAL_WEIGHTS), Text("student"), "Weights that are evaluated")
        .when(SELF_TAUGHT),
];

const fn parameter(name: &'static str, kind: Kind, default: Preset, doc: &'static str) -> Parameter {
    Parameter { name, kind, default, applies: ALWAYS, may_be_idle: false, changes_results: true, doc }
}

impl Parameter {
    const fn when(mut self, applies: &'static [&'static [Condition]]) -> Parameter {
        self.applies = applies;
        self
    }

    const fn harmless_elsewhere(mut self) -> Parameter {
        self.may_be_idle = true;
        self
    }

    const fn without_influence(mut self) -> Parameter {
        self.changes_results = false;
        self
    }
}

// Kinds. Upper ends that METHOD.md doesn't give only catch slips, such as a learning rate in the place of a width.
const UP_TO_1024: Kind = Kind::Integer { least: 1, most: 1024 };
const BATCH: Kind = Kind::Integer { least: 1, most: 65_536 };
const EPOCH: Kind = Kind::Integer { least: 1, most: 100_000 };
const EPOCH_OR_0: Kind = Kind::Integer { least: 0, most: 100_000 };
const EPOCHS: Kind = Kind::List { of: &EPOCH, least: 0 };
const WIDTHS: Kind = Kind::List { of: &Kind::Integer { least: 1, most: 65_536 }, least: 0 };
const FROM_0: Kind = Kind::Number(Included(0.0), Unbounded);
const ABOVE_0: Kind = Kind::Number(Excluded(0.0), Unbounded);
const FROM_0_BELOW_1: Kind = Kind::Number(Included(0.0), Excluded(1.0));
const ABOVE_0_BELOW_1: Kind = Kind::Number(Excluded(0.0), Excluded(1.0));
const ABOVE_0_UP_TO_1: Kind = Kind::Number(Excluded(0.0), Included(1.0));
const FACTORS: Kind = Kind::Set { of: &ABOVE_0, least: 1 };
const NAMES: Kind = Kind::Set { of: &Kind::Name, least: 0 };
const TEACHERS_OF_ENSEMBLE: Kind = Kind::List { of: &Kind::Weights, least: 1 };

// When parameters apply. A condition on an idle parameter never holds, so that `SELF_TAUGHT` implies `DISTILLED`.
const ALWAYS: &[&[Condition]] = &[&[]];
const GEM: &[&[Condition]] = &[&[one_of("pool", &["gem"])]];
const HIDDEN_HEAD: &[&[Condition]] = &[&[Condition { parameter: "head_hidden", is: Is::NotEmpty }]];
const MULTISTEP: &[&[Condition]] = &[&[one_of("lr_schedule", &["multistep"])]];
const STEPS: &[&[Condition]] = &[&[Condition { parameter: "lr_steps", is: Is::BeforeEnd }]];
const PROBED: &[&[Condition]] = &[&[Condition { parameter: "lp", is: Is::Flag(true) }]];
const DISTILLED: &[&[Condition]] = &[&[one_of("method", &["kd", "mask"])]];
const MASKED: &[&[Condition]] = &[&[one_of("method", &["mask"])]];
const INVERTED: &[&[Condition]] = &[&[one_of("method", &["mask"]), not("mask_mode", "d")]];
const ON_A_GPU: &[&[Condition]] = &[&[not("device", "cpu")]];
const ENSEMBLE: &[&[Condition]] = &[&[one_of("teacher", &["checkpoint"])]];
const SELF_TAUGHT: &[&[Condition]] = &[&[one_of("teacher", &["frozen", "ema", "anne", "sto"])]];
const HEAD_TAUGHT: &[&[Condition]] = &[&[Condition { parameter: "cls_only", is: Is::Flag(true) }]];
const NETWORK_TAUGHT: &[&[Condition]] = &[&[Condition { parameter: "cls_only", is: Is::Flag(false) }]];
const SOFTENED: &[&[Condition]] = &[&[one_of("aux_loss", &["kd", "kd_softmax"])]];
const AVERAGED: &[&[Condition]] =
    &[&[one_of("teacher", &["ema", "anne"])], &[one_of("eval_weights", &["average"])]];

const fn one_of(parameter: &'static str, words: &'static [&'static str]) -> Condition {
    Condition { parameter, is: Is::OneOf(words) }
}

const fn not(parameter: &'static str, word: &'static str) -> Condition {
    Condition { parameter, is: Is::Not(word) }
}

// Words.
const ARCHITECTURES: &[Word] = &[word("resnet-cifar", "Residual network for 32 × 32 images")];
const STEMS: &[Word] = &[
    word("3x3", "3 × 3, stride 1"),
    word("5x5", "5 × 5, stride 1"),
    word("7x7", "7 × 7, stride 2, and max-pooling"),
];
const POOLS: &[Word] = &[
    word("avg", "Global average"),
    word("avg2x2", "Averages of the four quarters"),
    word("gem", "Generalised mean"),
];
const ACTIVATIONS: &[Word] = &[word("relu", "Rectified linear unit")];
const SCHEDULES: &[Word] = &[
    word("multistep", "Constant between steps"),
    word("cosine", "Half a cosine down to 0"),
    word("constant", "Constant"),
];
const DEVICES: &[Word] = &[
    word("auto", "A GPU where there is one, otherwise the CPU"),
    word("cpu", "The CPU"),
    word("cuda", "The first GPU; `cuda:N` for the one of number N").also("gpu"),
];
const PRECISIONS: &[Word] = &[
    word("fp32", "32-bit floating point"),
    word("tf32", "Products of numbers with 10 bits of mantissa on a GPU; on a CPU the same as fp32"),
    word("bf16", "Convolutions in bfloat16; weights, statistics, features and losses stay in 32 bits"),
];
const METHODS: &[Word] = &[
    word("ce", "Cross entropy alone"),
    word("kd", "Cross entropy and a loss towards a reference model"),
    word("mask", "The same with masked features on the student's side"),
];
const TEACHERS: &[Word] = &[
    word("frozen", "A copy of the student, replaced at each reference event"),
    word("ema", "Moving average of the student"),
    word("anne", "Moving average, annealed from a plain one"),
    word("sto", "Plain average of the student"),
    word("checkpoint", "Networks of other trials, from the first epoch on"),
];
const AUX_LOSSES: &[Word] = &[
    word("kd", "Cross entropy of softened distributions"),
    word("l2", "Mean squared difference"),
    word("cs", "Minus cosine similarity"),
    word("kd_softmax", "kd after a softmax over classes"),
    word("l2_softmax", "l2 after a softmax over classes"),
    word("cs_softmax", "cs after a softmax over classes"),
];
const MASK_MODES: &[Word] = &[
    word("s", "One scalar, trained"),
    word("a", "A vector, trained"),
    word("sgf", "One scalar, constant 0").also("sgd"),
    word("agf", "A vector, constant 0").also("agd"),
    word("d", "Dropout of the features, which has no inverse"),
];
const INVERSE_MODES: &[Word] = &[
    word("none", "The inverse is not used"),
    word("v1", "The inverse's logits are added to the student's"),
    word("v2", "The inverse's logits are taken from the target"),
];
const AT_START: &[Word] = &[
    word("keep", "Goes on as before"),
    word("reset", "Rebuilt: momentum lost, learning rate constant from then on"),
];
const TEACHER_BN: &[Word] = &[word("running", "Running statistics"), word("batch", "The current batch's")];
const EVAL_WEIGHTS: &[Word] =
    &[word("student", "The student's"), word("average", "A moving average of the student's")];

const fn word(name: &'static str, doc: &'static str) -> Word {
    Word { name, alias: None, doc }
}

impl Word {
    const fn also(mut self, alias: &'static str) -> Word {
        self.alias = Some(alias);
        self
    }
}
