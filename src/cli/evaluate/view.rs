//! What was found, as JSON and as a page.
//!
//! Why it exists: scripts read the numbers, people the table. What it refuses to know: how they came about.

use serde_json::{Value, json};

use super::super::console::Style;
use super::super::table::{Align, Sheet};
use super::Found;
use super::sweep::{Knob, Point, saved_at};

/// Shares of the best model's quality at which savings are told.
const QUALITIES: [(&str, f64); 3] = [("0.95", 0.95), ("0.98", 0.98), ("1.00", 1.0)];

impl Found {
    pub(super) fn json(&self) -> Value {
        let each = |of: &dyn Fn(f64) -> Value| -> Value {
            QUALITIES.iter().map(|(name, quality)| ((*name).to_owned(), of(*quality))).collect()
        };
        let mut value = json!({
            "best_model": self.best(),
            "best_accept": round(self.baseline.accept()),
            "prompts": self.prompts,
            "learned_from": self.learned_from,
            "sweep": self.curve.iter().map(point).collect::<Vec<_>>(),
            "saved_at": each(&|quality| saved_at(&self.curve, quality).map(round).into()),
            "mixing_saved_at": each(&|quality| round(self.baseline.mixing(&self.market, quality)).into()),
        });
        if let (Some(online), Some(fields)) = (&self.online, value.as_object_mut()) {
            let reading = |reading: &super::online::Reading| {
                json!({
                    "verdicts": reading.verdicts, "utility": round(reading.utility()), "accept": round(reading.accept),
                    "cost_usd": round(reading.cost),
                })
            };
            fields.insert(
                "online".to_owned(),
                json!({
                    "quality": round(online.whole.quality), "saved": round(online.whole.saved),
                    "utility": round(online.utility), "accept": round(online.whole.accept),
                    "cost_usd": round(online.whole.cost), "seeds": online.seeds,
                    "curve": online.curve.iter().map(reading).collect::<Vec<_>>(),
                }),
            );
        }
        value
    }

    pub(super) fn table(&self, styled: bool) -> String {
        let mut parts = vec![self.header(styled), self.models(styled), self.savings(styled)];
        parts.extend(self.online_lines(styled));
        parts.join("\n\n")
    }

    fn best(&self) -> &str {
        self.market.names().get(self.baseline.best).map(String::as_str).unwrap_or_default()
    }

    fn header(&self, styled: bool) -> String {
        let best = Style::Bold.paint(self.best(), styled);
        let (accept, price) = (self.baseline.accept(), self.market.price(self.baseline.best));
        format!(
            "{} prompts, {}; the best model is {best}: {accept:.3} accepted at ${price}",
            self.prompts, self.learned_from
        )
    }

    fn models(&self, styled: bool) -> String {
        let mut sheet = Sheet::new(&[("model", Align::Left), ("price", Align::Right), ("accepted", Align::Right)]);
        for (arm, (name, accept)) in self.market.names().iter().zip(&self.baseline.accepts).enumerate() {
            let style = (arm == self.baseline.best).then_some(Style::Bold);
            sheet.row(vec![name.clone(), format!("${}", self.market.price(arm)), format!("{accept:.3}")], style);
        }
        sheet.render(styled)
    }

    fn savings(&self, styled: bool) -> String {
        let number = |name| (name, Align::Right);
        let mut sheet = Sheet::new(&[
            ("of the best quality", Align::Left),
            number("saved"),
            number("by mixing"),
            number("cost"),
            number("accepted"),
            ("at", Align::Left),
        ]);
        for (name, quality) in QUALITIES {
            let saved = saved_at(&self.curve, quality);
            let at = self.curve.iter().find(|point| Some(point.saved) == saved && point.quality >= quality - 1e-9);
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let cells = vec![
                name.to_owned(),
                or_dash(saved.map(percent)),
                percent(self.baseline.mixing(&self.market, quality)),
                or_dash(at.map(|point| format!("${:.4}", point.cost))),
                or_dash(at.map(|point| format!("{:.3}", point.accept))),
                or_dash(at.map(|point| setting(point.knob))),
            ];
            sheet.row(cells, None);
        }
        sheet.render(styled)
    }

    fn online_lines(&self, styled: bool) -> Option<String> {
        let online = self.online.as_ref()?;
        let number = |name| (name, Align::Right);
        let mut sheet =
            Sheet::new(&[number("verdicts"), number("accepted"), number("cost"), number("accept - 2 x dollars")]);
        for reading in &online.curve {
            let cells = vec![
                reading.verdicts.to_string(),
                format!("{:.3}", reading.accept),
                format!("${:.4}", reading.cost),
                format!("{:.3}", reading.utility()),
            ];
            sheet.row(cells, None);
        }
        let title = format!(
            "learning as it goes, one pass, mean of {} orders: quality {:.3}, saved {}",
            online.seeds,
            online.whole.quality,
            percent(online.whole.saved)
        );
        Some(format!("{title}\n\n{}", sheet.render(styled)))
    }
}

fn point(point: &Point) -> Value {
    let (name, knob) = named(point.knob);
    json!({
        "knob": round(knob), "knob_is": name, "mean_cost_usd": round(point.cost), "mean_accept": round(point.accept),
        "saved": round(point.saved), "quality": round(point.quality),
    })
}

fn setting(knob: Knob) -> String {
    let (name, dollars) = named(knob);
    format!("{name} {dollars:.4}")
}

fn named(knob: Knob) -> (&'static str, f64) {
    match knob {
        Knob::Review(dollars) => ("review_cost_usd", dollars),
        Knob::Worth(dollars) => ("accepted_worth_usd", dollars),
    }
}

/// Six decimals: a micro-dollar, and more than any rating knows.
fn round(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
