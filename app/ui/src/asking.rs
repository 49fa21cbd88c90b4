//! A request to a live prover as it is typed, and what the prover has said so far.

use assay_live::{Address, Amount, Ask};
use assay_verify::suspects::Cheaper;
use assay_work::live;
use assay_work::message::{
    Arithmetic, AskPrompt, AskRequest, LiveNews, ModelSource, ProverAt, Secret,
};

use crate::settings::Settings;
use crate::text;

/// Most prompt ids that are read.
const MAX_IDS: usize = 131_072;

/// The Ask page's fields.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub address: String,
    /// Kept for as long as the app runs, and nowhere else.
    pub token: Secret,
    pub prompt: String,
    /// The prompt in the other form.
    pub ids: String,
    pub by_ids: bool,
    pub max_tokens: String,
    pub layers: String,
    pub logits: String,
    /// Whether the prover may skip neurons, by a rule of its own.
    pub skips: bool,
    pub arithmetic: Arithmetic,
    pub suspects: Vec<Cheaper>,
    pub told: Told,
}

/// What a live prover has said. None of it is checked: all of it is shown escaped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// The answer so far.
    pub text: String,
    /// Program and device.
    pub prover: Option<(String, String)>,
    /// By which rule it skips neurons, if it says that it does.
    pub rule: Option<String>,
    /// Digest of its receipt.
    pub receipt: Option<String>,
    /// What it is to open.
    pub challenge: Option<Drawn>,
}

/// What was drawn.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub layers: Vec<u32>,
    /// Hidden states, where there is nothing else to open.
    pub states: Vec<u32>,
    /// Of how many tokens the logits.
    pub logits: u32,
}

impl Told {
    /// Takes the news in.
    pub fn take(&mut self, news: LiveNews) {
        match news {
            LiveNews::Prover {
                producer,
                adapter,
                rule,
            } => (self.prover, self.rule) = (Some((producer, adapter)), rule),
            LiveNews::Receipt { digest } => self.receipt = Some(digest),
            LiveNews::Challenge {
                layers,
                states,
                logits,
            } => {
                self.challenge = Some(Drawn {
                    layers,
                    states,
                    logits,
                });
            }
        }
    }
}

impl Asking {
    pub fn new(address: String, max_tokens: String) -> Self {
        Self {
            address,
            token: Secret::default(),
            prompt: "To be, or not".to_owned(),
            ids: String::new(),
            by_ids: false,
            max_tokens,
            layers: Ask::LAYERS.to_string(),
            logits: Ask::LOGITS.to_string(),
            skips: false,
            arithmetic: Arithmetic::default(),
            suspects: Vec::new(),
            told: Told::default(),
        }
    }

    /// The prover's host and port, fit to be shown.
    pub fn host(&self) -> String {
        match self.address() {
            Ok(address) => text::plain(address.host_and_port(), 60),
            Err(_) => "the prover".to_owned(),
        }
    }

    /// The address, or what is wrong with it.
    pub fn address(&self) -> Result<Address, String> {
        match self.address.trim() {
            "" => Err("a prover’s address is needed, such as http://127.0.0.1:8737".to_owned()),
            text => text
                .parse()
                .map_err(|err| format!("this is no prover’s address: {err}")),
        }
    }

    /// What to send, or which field is wrong.
    pub fn request(
        &self,
        model: &ModelSource,
        settings: &Settings,
    ) -> Result<(ProverAt, AskRequest), String> {
        let address = self.address()?.to_string();
        let token = self.token.expose().trim();
        let max_tokens = self.max_tokens.trim().parse().ok().filter(|n| *n > 0);
        let request = AskRequest {
            prompt: self.prompt(model)?,
            max_tokens: max_tokens.ok_or("the number of tokens must be a whole number above 0")?,
            sampler: settings.sampler.spec()?,
            ignore_eos: false,
            layers: amount("layers", &self.layers)?,
            logits: amount("logits", &self.logits)?,
            // A key cannot judge what skips.
            skips: self.skips && !model.is_key(),
            arithmetic: self.arithmetic,
            suspects: match model.is_key() {
                true => Vec::new(),
                false => self.suspects.clone(),
            },
        };
        let prover = ProverAt {
            address,
            token: (!token.is_empty()).then(|| Secret::new(token.to_owned())),
            seconds: live::SECONDS,
        };
        Ok((prover, request))
    }

    fn prompt(&self, model: &ModelSource) -> Result<AskPrompt, String> {
        if self.by_ids || model.is_key() {
            return ids(&self.ids).map(AskPrompt::Ids);
        }
        match self.prompt.is_empty() {
            true => Err("a prompt is needed".to_owned()),
            false => Ok(AskPrompt::Text(self.prompt.clone())),
        }
    }
}

/// `1, 2, 3`.
pub(crate) fn ids(list: &str) -> Result<Vec<u32>, String> {
    let parts = list
        .split([',', ' ', '\n', '\t'])
        .filter(|part| !part.is_empty());
    let ids: Result<Vec<u32>, _> = parts.take(MAX_IDS + 1).map(str::parse).collect();
    match ids {
        Ok(ids) if ids.is_empty() => {
            Err("a prompt is needed: token ids such as 1, 2, 3".to_owned())
        }
        Ok(ids) if ids.len() > MAX_IDS => Err(format!("a prompt has at most {MAX_IDS} ids")),
        Ok(ids) => Ok(ids),
        Err(_) => Err("token ids are whole numbers with commas: 1, 2, 3".to_owned()),
    }
}

/// `4`, or `all`.
pub(crate) fn amount(what: &str, text: &str) -> Result<Amount, String> {
    let text = text.trim().to_ascii_lowercase();
    text.parse()
        .map_err(|_| format!("{what} to open: a number, or all"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_work::message::Source;

    fn asking() -> Asking {
        Asking::new("http://127.0.0.1:8737/".to_owned(), "8".to_owned())
    }

    #[test]
    fn a_request_is_what_was_typed() {
        let (settings, mut asking) = (Settings::default(), asking());
        asking.token = Secret::new(" secret-token \n".to_owned());
        asking.layers = "ALL".to_owned();
        let (prover, request) = asking.request(&ModelSource::Demo, &settings).unwrap();
        assert_eq!(prover.address, "http://127.0.0.1:8737");
        assert_eq!(prover.token.unwrap().expose(), "secret-token");
        assert_eq!((request.layers, request.logits), (Amount::All, Ask::LOGITS));
        assert_eq!(request.prompt, AskPrompt::Text("To be, or not".to_owned()));
        // A key has no words.
        let key = ModelSource::key(Source::Path("k".to_owned()));
        assert!(asking.request(&key, &settings).is_err());
        asking.ids = "1, 2,3\n4".to_owned();
        let (prover, request) = asking.request(&key, &settings).unwrap();
        assert_eq!(request.prompt, AskPrompt::Ids(vec![1, 2, 3, 4]));
        assert!(prover.seconds >= 60);
    }

    #[test]
    fn each_field_says_what_is_wrong_with_it() {
        let settings = Settings::default();
        let wrong = |change: &dyn Fn(&mut Asking)| {
            let mut asking = asking();
            change(&mut asking);
            asking.request(&ModelSource::Demo, &settings).unwrap_err()
        };
        assert!(wrong(&|a| a.address.clear()).contains("address is needed"));
        assert!(wrong(&|a| a.address = "host:1".to_owned()).contains("http://"));
        assert!(wrong(&|a| a.prompt.clear()).contains("prompt"));
        assert!(wrong(&|a| a.max_tokens = "0".to_owned()).contains("tokens"));
        assert!(wrong(&|a| a.layers = "-1".to_owned()).contains("layers"));
        assert!(wrong(&|a| a.logits = "many".to_owned()).contains("logits"));
        assert!(wrong(&|a| a.by_ids = true).contains("ids"));
        assert!(ids("1,x").is_err() && ids("4294967296").is_err());
        assert!(ids(&"1,".repeat(MAX_IDS + 1)).is_err());
        assert_eq!(asking().host(), "127.0.0.1:8737");
    }
}
