"""pure: a model as an HTTP service: scores, answers, rewards, a chat form and a page."""
