//! The short, stable code of each reason, for answers, metrics and scripts.

use super::Reason;

impl Reason {
    /// The code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BreakerOpen(_) => "breaker_open",
            Self::BudgetExhausted(_) => "budget_exhausted",
            Self::DataPolicy => "data_policy",
            Self::Deadline => "deadline",
            Self::Floor => "floor",
            Self::Format => "format",
            Self::MaxCost => "max_cost",
            Self::KeptOnPrem => "kept_on_prem",
            Self::NegativePrompt => "negative_prompt",
            Self::NoPrompt => "no_prompt",
            Self::NotPinned => "not_pinned",
            Self::NotAllowed => "not_allowed",
            Self::ModelOff => "model_off",
            Self::PromptTooLong => "prompt_too_long",
            Self::ProviderOff => "provider_off",
            Self::QuotaSpent(_) => "quota_spent",
            Self::Retired(_) => "retired",
            Self::Seed => "seed",
            Self::Size => "size",
            Self::Strict => "strict",
            Self::UnknownPrice => "unknown_price",
            Self::UpscalerUnavailable => "upscaler_unavailable",
            Self::VerifierAbsent => "verifier_absent",
        }
    }
}
