use sweep::recipe::{MaskMode, Method, Recipe};
use tch::{Device, Kind, Tensor};

use super::error::TrainError;
use super::loss;
use super::mask::Mask;
use super::model::{Architecture, ResNet};
use super::optimizer::{Momentum, Rates};
use super::random::Step;
use super::reference::Reference;

/// All that training changes: what a checkpoint has to hold.
#[derive(Debug)]
pub struct State {
    pub student: ResNet,
    pub momentum: Momentum,
    /// From the method's start on.
    pub reference: Option<Reference>,
    /// Scalar that stands in the places of removed channels; from the method's start on, for `mask` only. It has a
    /// gradient where its mode trains it.
    pub token: Option<Tensor>,
    /// Epochs completed.
    pub epoch: u32,
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
        let architecture = Architecture::new(recipe.depth, recipe.width, classes)?;
        let student = ResNet::draw(architecture, seed, kind, device);
        Ok(State { student, momentum: Momentum::default(), reference: None, token: None, epoch: 0 })
    }

    /// The teacher event: the reference becomes the student as it is now. The first one starts the method, and with it
    /// the token; later ones leave the token as it was trained.
    pub fn take_reference(&mut self, method: &Method) {
        self.reference = Some(Reference::take(&self.student));
        if let (Method::Mask(_, masking), None) = (method, &self.token) {
            let like = &self.student.head.weight;
            let token = Tensor::zeros([0; 0], (like.kind(), like.device()));
            self.token = Some(token.set_requires_grad(masking.mode == MaskMode::TrainedScalar));
        }
    }

    /// The auxiliary loss of one step, a scalar; `None` before the method's start.
    ///
    /// `images` `[N, 3, H, W]`; `features` `[N, D]` and `logits` `[N, C]` are what the student makes of them.
    #[must_use]
    pub fn auxiliary_loss(
        &self,
        method: &Method,
        at: Step,
        images: &Tensor,
        features: &Tensor,
        logits: &Tensor,
    ) -> Option<Tensor> {
        let reference = self.reference.as_ref()?;
        match method {
            Method::Ce => None,
            Method::Kd(kd) => Some(loss::pairwise(kd.loss, logits, &reference.logits(images))),
            Method::Mask(kd, masking) => {
                let token = self.token.as_ref().expect("the token is there from the method's start on");
                let (samples, width) = features.size2().expect("features of each sample");
                let mask = Mask::draw(at, samples, width, masking.ratio, features.device());
                let target = reference.logits(images); // [N, C]
                let head = &self.student.head;
                Some(loss::masked(kd.loss, masking.inverse, head, features, &target, &mask, token))
            }
        }
    }

    /// One step of the optimizer down the gradient of `loss`, a scalar.
    pub fn descend(&mut self, loss: &Tensor, rates: Rates) {
        let trained_token = self.token.as_ref().filter(|token| token.requires_grad());
        let parameters: Vec<&Tensor> =
            self.student.parameters().map(|named| &named.tensor).chain(trained_token).collect();
        self.momentum.step(loss, &parameters, rates);
    }
}
