"""The API described as OpenAPI 3.1, from what the service itself goes by.

What is accepted (`accepted`) is made of the rules that validate it; operations stand beside their handlers
(`operation`) and their addresses come from the app's own routes (`build`). Answers (`answered`) are written
down here, and held by tests against what the running app answers.
"""
