"""Training with Stable-Baselines3: features, environments, a trainer that measures as it goes, and plots."""
