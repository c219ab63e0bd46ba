"""How families of chat models write a conversation, as tiny tokenizers and templates.

The marks, their flags and the ends named in the generation settings are those of the families'
own files; the templates are reduced to what they write.
"""
