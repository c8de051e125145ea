//! What was measured, a line each: `name, value, unit, ceiling, ratio`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the one place that prints")]

use serde_json::{Value, json};

/// One measured number.
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    ceiling: Option<f64>,
    /// Grows as the value gets better; 1 is as good as the ceiling.
    ratio: Option<f64>,
}

/// Where figures go as they come.
pub(crate) struct Report {
    json: bool,
    begun: bool,
}

impl Figure {
    /// A number with nothing to compare it to.
    pub(crate) fn alone(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, ceiling: None, ratio: None }
    }

    /// Something of which more is better, beside the most that is possible.
    pub(crate) fn rate(
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        ceiling: f64,
    ) -> Self {
        let ratio = Some(value / ceiling);
        Self { ceiling: Some(ceiling), ratio, ..Self::alone(name, value, unit) }
    }

    /// Something of which less is better, beside the least that is possible or the most that is allowed.
    pub(crate) fn cost(
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        ceiling: f64,
    ) -> Self {
        let ratio = Some(ceiling / value);
        Self { ceiling: Some(ceiling), ratio, ..Self::alone(name, value, unit) }
    }

    fn json(&self) -> Value {
        let round = |number: f64| (number * 1000.0).round() / 1000.0;
        json!({
            "name": self.name,
            "value": round(self.value),
            "unit": self.unit,
            "ceiling": self.ceiling.map(round),
            "ratio": self.ratio.map(round),
        })
    }

    fn text(&self) -> String {
        let or_none = |number: Option<f64>, digits: usize| {
            number.map_or("-".to_owned(), |number| format!("{number:.digits$}"))
        };
        let digits = if self.value >= 1000.0 { 0 } else { 2 };
        let (value, ceiling) = (format!("{:.digits$}", self.value), or_none(self.ceiling, digits));
        let Self { name, unit, .. } = self;
        format!("{name:<28} {value:>12} {unit:<9} {ceiling:>12} {:>7}", or_none(self.ratio, 3))
    }
}

impl Report {
    /// A report for people, or of one JSON object a line.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, begun: false }
    }

    /// Prints a figure.
    pub(crate) fn add(&mut self, figure: &Figure) {
        if self.json {
            println!("{}", figure.json());
            return;
        }
        if !std::mem::replace(&mut self.begun, true) {
            let heads = ["name", "value", "unit", "ceiling", "ratio"];
            let [name, value, unit, ceiling, ratio] = heads;
            println!("{name:<28} {value:>12} {unit:<9} {ceiling:>12} {ratio:>7}");
        }
        println!("{}", figure.text());
    }
}

/// The middle one; of an even number the lower of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Says why there is no figure.
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("bench: {error:#}");
}

#[cfg(test)]
mod tests {
    use super::{Figure, median};

    #[test]
    fn a_line_has_exactly_five_members_and_a_ratio_that_grows_as_the_value_gets_better() {
        let (slow, fast) =
            (Figure::cost("a", 4.0, "us", 1.0), Figure::rate("b", 60.0, "1/s", 80.0));
        let slow = slow.json().to_string();
        assert_eq!(slow, r#"{"name":"a","value":4.0,"unit":"us","ceiling":1.0,"ratio":0.25}"#);
        assert_eq!(fast.json()["ratio"], 0.75);
        let alone = Figure::alone("c", 1.0, "ms").json();
        assert!(alone["ceiling"].is_null() && alone["ratio"].is_null());
    }

    #[test]
    fn the_median_is_one_of_the_values() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0, 4.0]), 2.0);
    }
}
