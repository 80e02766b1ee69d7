"""Reconcile: an asyncio framework for Kubernetes controllers."""
