"""Who signs in: access tokens, and the embedded sign-in that speaks GoTrue's protocol.

tokens.py reads access tokens, ours or Supabase's; signing.py has our keys; one_time.py the links
and codes that are mailed; sessions.py what begins with them; gotrue.py the shapes that Supabase's
clients know; pages.py what a person sees in between. routes/sign_in.py serves it.
"""
