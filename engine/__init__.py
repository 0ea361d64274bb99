"""RuGPT Engine: AI roles that answer in a company's group chats, and people who sign what they say."""

__version__ = "0.1.0"
