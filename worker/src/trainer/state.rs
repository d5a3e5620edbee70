use sweep::recipe::{Method, OptimizerAtStart, Recipe, Teacher, TeacherEvent};
use tch::{Device, Kind, Tensor};

use super::error::TrainError;
use super::head::{Dropping, HeadMode, Pass};
use super::loss::{self, Side};
use super::mask::{Mask, Token};
use super::model::{Architecture, ResNet};
use super::optimizer::{Group, Momentum, Rates};
use super::probe::Probe;
use super::random::Step;
use super::reference::Reference;
use super::shadow::Shadow;

/// All that training changes: what a checkpoint has to hold.
#[derive(Debug)]
pub struct State {
    pub student: ResNet,
    pub momentum: Momentum,
    /// From the method's start on.
    pub reference: Option<Reference>,
    /// How often an averaged reference was updated.
    pub reference_updates: u32,
    /// What stands in the places of removed channels; from the method's start on, for `mask` only.
    pub token: Option<Token>,
    /// The average of the student that is evaluated, from the epoch on in which it is first updated.
    pub shadow: Option<Shadow>,
    /// Epochs completed.
    pub epoch: u32,
    /// What is there only between an epoch's first step and its end.
    pub within: Option<Within>,
}

/// An epoch under way.
#[derive(Debug, Default)]
pub struct Within {
    /// Steps completed.
    pub step: u32,
    /// For each of them total, cross entropy and (from the method's start on) auxiliary loss, f64 `[2 or 3]`.
    pub losses: Vec<Tensor>,
    /// Features of the last full batch, `[at most 128, D]`.
    pub last_full_batch: Option<Tensor>,
    pub probes: Vec<Probe>,
}

/// What one step made of its images.
#[derive(Debug)]
pub struct Forward<'a> {
    pub at: Step,
    /// `[N, 3, H, W]`.
    pub images: &'a Tensor,
    /// `[N, D]`.
    pub features: &'a Tensor,
    /// `[N, C]`.
    pub logits: &'a Tensor,
}

impl State {
    /// The state before the first epoch.
    ///
    /// # Errors
    /// [`TrainError::BadConfig`] for a network that there isn't.
    pub fn fresh(
        recipe: &Recipe,
        seed: u64,
        classes: i64,
        kind: Kind,
        device: Device,
    ) -> Result<State, TrainError> {
        let architecture = Architecture::new(recipe.network.clone(), classes)?;
        Ok(State::of(ResNet::draw(architecture, seed, kind, device)))
    }

    /// `student` before the first epoch.
    #[must_use]
    pub fn of(student: ResNet) -> State {
        State {
            student,
            momentum: Momentum::default(),
            reference: None,
            reference_updates: 0,
            token: None,
            shadow: None,
            epoch: 0,
            within: None,
        }
    }

    /// Does what belongs to the beginning of the epoch after the last one, and gives that epoch; one that was taken up
    /// again has had its beginning.
    pub fn begin_epoch(&mut self, recipe: &Recipe, seed: u64) -> Within {
        if let Some(within) = self.within.take() {
            return within;
        }
        let epoch = self.epoch + 1;
        if let Some(event) = recipe.teacher_event_before(epoch) {
            self.teach(&recipe.method, event);
        }
        if recipe.shadow_ratio_in(epoch).is_some() && self.shadow.is_none() {
            self.shadow = Some(Shadow::new(&self.student));
        }
        let multipliers = if recipe.trains_probes_in(epoch) { recipe.probes.as_slice() } else { &[] };
        Within { probes: Probe::fresh(multipliers, &self.student, seed, epoch), ..Within::default() }
    }

    /// The teacher event: the reference becomes the student as it is now. The first one starts the method, and with it
    /// the token; later ones leave the token as it was trained. An ensemble is there already.
    pub fn teach(&mut self, method: &Method, event: TeacherEvent) {
        let (Method::Kd(distillation) | Method::Mask(distillation, _)) = method else {
            return;
        };
        if let Teacher::Student(teaching) = &distillation.teacher {
            self.reference = Some(Reference::take(&self.student, teaching.scope));
            if event == TeacherEvent::Start && teaching.optimizer_at_start == OptimizerAtStart::Reset {
                self.momentum = Momentum::default();
            }
        }
        if let (Method::Mask(_, masking), TeacherEvent::Start) = (method, event) {
            self.token = Some(Token::zeros_for(masking, &self.student));
        }
    }

    /// The auxiliary loss of one step, a scalar; `None` before the method's start. `masks`: one for each of `mask_multi`.
    #[must_use]
    pub fn auxiliary_loss(&self, method: &Method, forward: &Forward<'_>, masks: &[Mask]) -> Option<Tensor> {
        let reference = self.reference.as_ref()?;
        let Forward { at, images, features, logits } = *forward;
        match method {
            Method::Ce => None,
            Method::Kd(kd) => Some(loss::pairwise(kd.loss, logits, &reference.logits(images, features, at))),
            Method::Mask(kd, masking) => {
                let token = self.token.as_ref().expect("the token is there from the method's start on");
                let target = reference.logits(images, features, at); // [N, C]
                let head = |features: &Tensor, side| {
                    let pass = if side == Side::Masked { Pass::Masked } else { Pass::Inverse };
                    self.student.head.forward(features, HeadMode::TrainAside(Dropping { at, pass }))
                };
                let inverse = masking.mode.inverse();
                Some(loss::masked(kd.loss, inverse, &head, features, &target, masks, token))
            }
        }
    }

    /// One step of the optimizer down the gradient of `loss`, a scalar.
    pub fn descend(&mut self, loss: &Tensor, rates: Rates) {
        let (backbone, head) = self.student.trained();
        let groups = [
            Group { parameters: backbone, lr: rates.backbone_lr },
            Group { parameters: head, lr: rates.head_lr },
            Group { parameters: self.token.iter().filter_map(Token::trained).collect(), lr: rates.lr },
        ];
        self.momentum.step(loss, &groups, rates.momentum, rates.weight_decay);
    }

    /// What follows each step of the optimizer in `epoch`: averages move towards the student.
    pub fn average(&mut self, recipe: &Recipe, epoch: u32) {
        if let (Some(averaging), Some(reference)) = (recipe.averaging(), &mut self.reference) {
            reference.average(&self.student, averaging, self.reference_updates);
            self.reference_updates += 1;
        }
        if let (Some(ratio), Some(shadow)) = (recipe.shadow_ratio_in(epoch), &mut self.shadow) {
            shadow.update(&self.student, ratio);
        }
    }
}
